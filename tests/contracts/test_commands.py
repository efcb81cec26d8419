from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.commands import (
    DISCARD_REQUESTED,
    HOLD_PLACED,
    REPLAY_REQUESTED,
    VERDICT_RECORDED,
    CommandKind,
    DiscardRequested,
    Hold,
    ReplayFrom,
    ReplayRequested,
    Ruling,
    read_command,
    read_hold,
    read_verdict,
)
from contracts.states import Step
from contracts.wire import InvalidEvent
from tests.contracts.samples import data_of, event_of

UNTIL = 1_740_895_200_000


def hold(**scope: Any) -> Hold:
    """Read a hold with this scope."""
    return read_hold(orjson.dumps(data_of(HOLD_PLACED, scope=scope)))


def covers(order: Hold, **changes: Any) -> bool:
    """Ask whether the hold covers a certain call, with changes."""
    call: dict[str, Any] = {
        "step": Step.CANCEL_TOKEN,
        "counterpart": "tokens",
        "auth_client_id": "ac-1",
        "merchant": "rm-1",
        "now_ms": UNTIL - 1,
    }
    return order.covers(**{**call, **changes})


def test_replay_and_discard_are_read() -> None:
    """The type of the event decides the model; `from` is the failed step unless said otherwise."""
    replay = read_command(event_of(REPLAY_REQUESTED, data_of(REPLAY_REQUESTED, **{"from": ...})))
    assert isinstance(replay, ReplayRequested)
    assert (replay.resume_from, replay.expected_sequence, replay.force) == (ReplayFrom.FAILED_STEP, 9, False)
    discard = read_command(event_of(DISCARD_REQUESTED, data_of(DISCARD_REQUESTED)))
    assert isinstance(discard, DiscardRequested)
    with pytest.raises(InvalidEvent, match="on the commands topic"):
        read_command(event_of("other.v1", {}))


def test_from_is_written_under_its_wire_name() -> None:
    """What on-call's tools write is what the worker reads."""
    replay = ReplayRequested(
        letter="unbinding.requests/3/17",
        expected_sequence=0,
        plan_id="p-1",
        by="kim",
        why="fixed",
        resume_from=ReplayFrom.START,
    )
    assert b'"from":"start"' in replay.to_json()
    assert read_command(event_of(REPLAY_REQUESTED, orjson.loads(replay.to_json()))) == replay


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"from": "middle"}, "from must be one of 'failed_step' or 'start'"),
        ({"force": "yes"}, "force must be true or false"),
        ({"expectedSequence": -1}, "expectedSequence must be at least 0"),
        ({"expectedSequence": "9"}, "expectedSequence must be a whole number"),
        ({"letter": "a b"}, "letter must be the key of a dead letter"),
        ({"why": ""}, "why must not be empty"),
        ({"by": ...}, "by is required"),
    ],
)
def test_a_wrong_command_is_refused(changes: dict[str, Any], message: str) -> None:
    """The error names the field and the rule."""
    with pytest.raises(InvalidEvent) as caught:
        read_command(event_of(REPLAY_REQUESTED, data_of(REPLAY_REQUESTED, **changes)))
    assert message in str(caught.value)


def test_a_verdict_is_read() -> None:
    """It says what was ordered, by whom, and why it was refused."""
    verdict = read_verdict(event_of(VERDICT_RECORDED, data_of(VERDICT_RECORDED)))
    assert (verdict.ruling, verdict.command, verdict.found_sequence) == (
        Ruling.REFUSED,
        CommandKind.REPLAY,
        11,
    )
    with pytest.raises(InvalidEvent, match="on the verdicts topic"):
        read_verdict(event_of("other.v1", {}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"because": ...}, "because is required with ruling refused"),
        ({"ruling": "applied"}, "because and instead only go with ruling refused"),
        ({"ruling": "applied", "because": ..., "instead": ..., "command": ...}, "command is required"),
    ],
)
def test_a_verdict_fits_its_ruling(changes: dict[str, Any], message: str) -> None:
    """A refusal has its reason, and nothing else has one."""
    with pytest.raises(InvalidEvent, match=message):
        read_verdict(event_of(VERDICT_RECORDED, data_of(VERDICT_RECORDED, **changes)))


@pytest.mark.parametrize(
    ("scope", "other"),
    [
        ({"counterpart": "tokens"}, {"counterpart": "hub"}),
        ({"step": "cancel_token"}, {"step": Step.CONSULT}),
        ({"authClientId": "ac-1"}, {"auth_client_id": "ac-2"}),
        ({"authClientId": "ac-1"}, {"auth_client_id": None}),
        ({"referenceMerchantId": "rm-1"}, {"merchant": "rm-2"}),
        ({"authMerchantId": "rm-1"}, {"merchant": None}),
        ({"all": True}, {"now_ms": UNTIL}),
        ({"counterpart": "tokens", "authClientId": "ac-1"}, {"auth_client_id": "ac-2"}),
    ],
)
def test_a_hold_covers_what_it_names_and_no_more(scope: dict[str, Any], other: dict[str, Any]) -> None:
    """All that is given must fit; a hold ends at its moment."""
    assert covers(hold(**scope))
    assert not covers(hold(**scope), **other)


@pytest.mark.parametrize(
    "call", [{"step": Step.OFFER}, {"counterpart": "antom"}, {"auth_client_id": None}, {"merchant": None}]
)
def test_a_hold_on_all_covers_every_call(call: dict[str, Any]) -> None:
    """Whatever the call names or leaves open."""
    assert covers(hold(all=True), **call)


@pytest.mark.parametrize(
    ("scope", "message"),
    [
        ({}, "one of all, counterpart, step"),
        ({"all": False}, "one of all, counterpart, step"),
        ({"all": True, "step": "consult"}, "all stands alone"),
        ({"referenceMerchantId": "a", "authMerchantId": "b"}, "exclude each other"),
        ({"counterpart": "Hub"}, r"scope\.counterpart must be small letters"),
        ({"step": "calls"}, r"scope\.step must be one of"),
    ],
)
def test_a_hold_must_say_what_it_holds(scope: dict[str, Any], message: str) -> None:
    """An empty scope holds nothing by accident, and everything only by `all`."""
    with pytest.raises(InvalidEvent, match=message):
        hold(**scope)


@given(st.binary(max_size=40) | st.sampled_from([b"null", b"[]", b"{}", b'{"scope":' * 3000]))
def test_any_value_of_the_holds_topic_is_read_or_refused(value: bytes) -> None:
    """Junk in the holds topic ends in InvalidEvent alone."""
    with pytest.raises(InvalidEvent):
        read_hold(value)
