"""How letters, states, plans, verdicts and findings are shown: as text, from data alone."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from rich.console import Console

from contracts.cloudevents import read_event
from contracts.commands import CommandKind, read_verdict
from contracts.origins import Origin
from contracts.states import (
    BINDING_REBIND_OFFERED,
    Debits,
    Evidence,
    Outcome,
    Reason,
    State,
    Step,
    encode_rebind_offered,
    read_state,
)
from contracts.topics import LogicalTopic
from tests.oncall.examples import (
    SAGA,
    SEALED,
    TOKEN,
    letter_headers,
    lines,
    request,
    state_record,
    verdict_record,
)
from tests.oncall.worlds import NOW_AT
from worker.kafka.topics import Finding, Remedy
from worker.oncall import letters
from worker.oncall.cluster import Found
from worker.oncall.letters import Letter, letter_of, outlooks
from worker.oncall.letters_view import duration_text, letter_table, letter_whole, letters_table
from worker.oncall.orders import Course, Wish, make_orders
from worker.oncall.orders_view import open_texts, plan_table, verdict_text
from worker.oncall.submit import read_entries
from worker.oncall.submit_view import ROWS_SHOWN, entries_table, placed_table, plan_text
from worker.oncall.topics_view import findings_table
from worker.oncall.watch_view import _STYLES, state_text
from worker.shard.commands import REPLAYS_MOST

if TYPE_CHECKING:
    from rich.console import RenderableType

    from worker.oncall.watch import StateEvent
    from worker.ports import Headers


def printed(renderable: RenderableType) -> str:
    """Return what a wide terminal without colours shows."""
    stream = io.StringIO()
    Console(file=stream, width=250, markup=False, emoji=False, highlight=False).print(renderable)
    return stream.getvalue()


def state(which: State, *, sequence: int = 2, **more: Any) -> StateEvent:
    """Return a state event."""
    value, headers = state_record(which, sequence=sequence, **more)
    return read_state(read_event(value, headers))


def letter(**changes: Any) -> Letter:
    """Return a letter as it is read from its topic."""
    headers = letter_headers(**changes)
    return as_read(headers.key.encode(), tuple(headers.to_headers()))


def as_read(key: bytes, headers: Headers) -> Letter:
    """Return the letter that a record with this key and these headers is."""
    return letter_of(
        Found(partition=1, offset=4, timestamp_at=NOW_AT, key=key, value=SEALED, headers=headers)
    )


def test_a_state_is_one_line() -> None:
    """Moment, binding, start of the saga, state and cause stand on one line."""
    line = printed(
        state_text(
            state(
                State.WAITING,
                step=Step.CANCEL_TOKEN,
                outcome=Outcome.UNKNOWN,
                result_code="UNKNOWN_EXCEPTION",
                attempts=3,
                next_attempt_at=NOW_AT + 5_000,
                done=(Step.CONSULT,),
                debits=Debits.BLOCKED,
            )
        )
    )
    assert line == (
        "2025-03-01 03:33:20.002  bnd-1  5e9a1c77/2  waiting    "
        "cancel_token UNKNOWN UNKNOWN_EXCEPTION, 3 attempts, next attempt 03:33:25, done: consult\n"
    )


def test_causes_of_ends_are_told() -> None:
    """A parked, a refused and an unbound state say why."""
    assert "reason failed" in printed(state_text(state(State.PARKED, reason=Reason.FAILED)))
    assert "because one bill is open" in printed(
        state_text(state(State.REFUSED, refuse_reason="one bill is open"))
    )
    assert "evidence notice" in printed(state_text(state(State.UNBOUND, evidence=Evidence.NOTICE)))


def test_links_are_named_not_shown() -> None:
    """Links to bind again are for the user alone: only their names are shown."""
    value = encode_rebind_offered(
        binding_id="bnd-1",
        saga_id=SAGA,
        request_ids=["req-1"],
        sequence=2,
        at=NOW_AT,
        links={"normalUrl": "https://wallet.example/secret"},
    )
    _, headers = state_record(State.UNBOUND, sequence=2)
    named = tuple(
        (name, BINDING_REBIND_OFFERED.encode() if name == "ce_type" else text) for name, text in headers
    )
    line = printed(state_text(read_state(read_event(value, named))))
    assert "links: normalUrl" in line
    assert "secret" not in line


def test_every_state_has_a_colour() -> None:
    """No state is forgotten."""
    assert _STYLES.keys() == set(State)


def test_text_from_outside_is_no_markup() -> None:
    """Brackets in a message are text, not rich's markup."""
    assert "[red]boo[/red]" in printed(letter_table(letter(message="[red]boo[/red]")))
    assert "[red]" in printed(letters_table([letter(message="[red]boo")], total=1, now_at=NOW_AT))


def test_the_list_tells_what_to_look_at() -> None:
    """Key, reason, step, result, age and message are in the list."""
    table = printed(letters_table([letter()], total=1, now_at=NOW_AT))
    for fact in (
        "1 open dead letter",
        SAGA,
        "outcome_unknown",
        "UNKNOWN UNKNOWN_EXCEPTION",
        "1 h",
        "please try again",
    ):
        assert fact in table


def test_a_letter_that_cannot_be_read_is_shown() -> None:
    """A letter of a newer version, or without headers, is listed and says why it cannot be read."""
    broken = as_read(b"strange", ())
    assert "unbinding-letter-version is missing" in printed(letter_table(broken))
    assert "cannot be read" in printed(letters_table([broken], total=1, now_at=NOW_AT))
    assert letter_whole(broken)["problem"] == "unbinding-letter-version is missing"
    assert not any(outlook.lawful for outlook in outlooks(broken))


def test_foreign_headers_cannot_steer_the_terminal() -> None:
    """Control characters in what others sent are not printed."""
    table = printed(letter_table(letter(original=(("ce_id", b"a\x1b[31mb"), ("ce_\x07x", b"y")))))
    assert "\x1b" not in table
    assert "\x07" not in table


def test_no_json_of_a_letter_has_its_value() -> None:
    """JSON has all facts, what the commands would do, and no sealed byte."""
    line = orjson.dumps(letter_whole(letter())).decode()
    assert "nobody-may-see" not in line
    assert '"sealedWith":"2025-03"' in line
    assert '"replay":{"refused":false' in line


@pytest.mark.parametrize(
    ("changes", "lawful", "sentence"),
    [
        ({}, True, "goes on at cancel_token"),
        ({"reason": Reason.EXPIRED}, False, "only be discarded"),
        ({"replays": 2}, True, "only with --force"),
        ({"reason": Reason.INVALID}, True, "reads the original anew"),
        (
            {
                "saga": None,
                "sealed_with": None,
                "origin_sha256": "a" * 64,
            },
            True,
            "at its origin, if it still lies there",
        ),
        ({"saga": None, "origin": Origin("eu.unbinding.notices", 0, 1)}, False, "mended notice"),
    ],
)
def test_what_a_replay_would_do_is_told(changes: dict[str, Any], lawful: bool, sentence: str) -> None:
    """Each kind of letter says what replay would do, and when it is refused for certain."""
    replay, discard = outlooks(letter(**changes))
    assert replay.lawful is lawful
    assert sentence in replay.sentence
    assert discard.lawful


def test_the_limit_of_replays_is_the_workers() -> None:
    """What is told of the limit is what the worker does."""
    assert letters.REPLAYS_MOST == REPLAYS_MOST


@pytest.mark.parametrize(
    ("ms", "text"),
    [(-5, "0 s"), (59_999, "59 s"), (60_000, "1 min"), (7_200_000, "2 h"), (180_000_000, "2 d")],
)
def test_ages_are_coarse(ms: int, text: str) -> None:
    """An age has one unit."""
    assert duration_text(ms) == text


def test_a_plan_says_who_why_and_what() -> None:
    """The plan names the order, who and why, and what each command does."""
    wish = Wish(kind=CommandKind.DISCARD, by="kim", why="ticket [8812]")
    table = printed(
        plan_table(make_orders([letter()], wish, now_at=NOW_AT, plan_id="plan-1"), plan_id="plan-1")
    )
    assert "Plan plan-1: discard 1, by kim, why: ticket [8812]" in table
    assert "ends as discarded" in table


def test_orders_of_one_plan_have_ids_of_their_own() -> None:
    """The id of a command tells plan and letter: another letter or plan, another id."""
    wish = Wish(kind=CommandKind.REPLAY, by="kim", why="x")
    both = [letter(), letter(saga="other")]
    first = make_orders(both, wish, now_at=NOW_AT, plan_id="plan-1")
    second = make_orders(both, wish, now_at=NOW_AT, plan_id="plan-2")
    assert len({order.command_id for order in (*first, *second)}) == 4


def test_verdicts_are_one_line() -> None:
    """Applied and refused verdicts say what was ordered; a refusal says why and what is lawful."""
    applied, refused = (
        verdict_text(read_verdict(read_event(*verdict_record("c-1", because=because))))
        for because in (None, "stale")
    )
    assert str(applied) == f"{SAGA}  replay applied"
    assert str(refused) == f"{SAGA}  replay refused: stale; instead: unbinding letters discard {SAGA}"


def test_what_is_open_is_told() -> None:
    """An order without a verdict says where a worker is needed."""
    (order,) = make_orders(
        [letter()], Wish(kind=CommandKind.REPLAY, by="kim", why="x"), now_at=NOW_AT, plan_id="p"
    )
    (sentence,) = open_texts([Course(order=order)])
    assert "owns partition 1" in sentence


def test_long_lists_of_entries_are_cut() -> None:
    """What is submitted is shown up to a bound, and the title says how many there are."""
    entries = read_entries(
        lines(*(request(f"bnd-{number}") for number in range(40))).encode(),
        now_at=NOW_AT,
        record_bytes=10_000,
    )
    table = printed(entries_table(entries, partitions=dict.fromkeys(LogicalTopic, 3)))
    assert f"40 would be published, the first {ROWS_SHOWN}" in table
    assert "bnd-39" not in table
    placed = printed(placed_table(entries, [Origin("unbinding.requests", 1, 77)]))
    assert "1 published" in placed
    assert "77" in placed
    assert TOKEN not in table + placed
    assert "unbinding.requested.v1: 40" in plan_text(entries, where="localhost:9092")


def test_findings_say_who_mends_them() -> None:
    """A finding says how bad it is, what to do, and whether `apply` does it."""
    finding = Finding(
        topic=LogicalTopic.STATES,
        name="binding.states",
        what="it is [odd]",
        to_do="look",
        remedy=Remedy.BY_HAND,
        serious=False,
    )
    table = printed(findings_table([finding], title="Topics"))
    for text in ("warning", "binding.states", "it is [odd]", "look", "by hand"):
        assert text in table
