from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.states import (
    BINDING_REBIND_OFFERED,
    BINDING_STATE_CHANGED,
    ENDS,
    LINK_NAMES,
    BindingRebindOffered,
    BindingStateChanged,
    Debits,
    Evidence,
    Outcome,
    Reason,
    State,
    Step,
    encode_rebind_offered,
    encode_state_changed,
    read_state,
    state_event_id,
)
from contracts.wire import InvalidEvent, parse_rfc3339, rfc3339
from tests.contracts.samples import data_of, event_of

ids = st.text("abz019-_.:é😀\"\\/ '<", min_size=1, max_size=20)
moments = st.integers(min_value=0, max_value=253_370_764_799_999)
CASES: dict[State, dict[str, st.SearchStrategy[Any]]] = {
    State.WAITING: {"next_attempt_at": moments},
    State.JOINED: {"next_attempt_at": st.none() | moments},
    State.PARKED: {"reason": st.sampled_from(Reason)},
    State.REFUSED: {"refuse_reason": st.none() | ids},
    State.REVOKED: {"evidence": st.none() | st.sampled_from(Evidence)},
    State.UNBOUND: {"evidence": st.none() | st.sampled_from(Evidence)},
}


def moment(at: int) -> datetime:
    """Return the moment as a model takes it."""
    return datetime.fromisoformat(rfc3339(at))


@st.composite
def transitions(draw: st.DrawFn) -> dict[str, Any]:
    """Draw the plain values of a lawful transition."""
    state = draw(st.sampled_from([state for state in State if state is not State.OFFERED]))
    fields: dict[str, st.SearchStrategy[Any]] = {
        "binding_id": ids,
        "saga_id": ids,
        "request_ids": st.lists(ids, min_size=1, max_size=3),
        "sequence": st.integers(1, 2**40),
        "done": st.lists(st.sampled_from(Step), max_size=3, unique=True),
        "step": st.none() | st.sampled_from(Step),
        "outcome": st.none() | st.sampled_from(Outcome),
        "result_code": st.none() | ids,
        "result_message": st.none() | ids,
        "attempts": st.integers(0, 1000),
        "debits": st.none() | st.sampled_from(Debits),
        "token_fingerprint": st.none() | ids,
        "at": moments,
        **CASES.get(state, {}),
    }
    return {"state": state, **{name: draw(values) for name, values in fields.items()}}


@given(transitions())
def test_the_fast_path_writes_what_the_model_writes(fields: dict[str, Any]) -> None:
    """Byte for byte the same JSON, and it can be read back."""
    values: dict[str, Any] = {
        name: moment(value) if name in ("at", "next_attempt_at") and value is not None else value
        for name, value in fields.items()
    }
    event = BindingStateChanged(**values)
    encoded = encode_state_changed(**fields)
    assert encoded == event.to_json()
    assert BindingStateChanged.model_validate_json(encoded) == event


@given(
    binding_id=ids,
    sequence=st.integers(1, 99),
    at=moments,
    links=st.dictionaries(st.sampled_from(sorted(LINK_NAMES)), st.just("https://w.example/é"), min_size=1),
    code=st.none() | ids,
)
def test_the_fast_path_of_an_offer_writes_what_the_model_writes(
    binding_id: str, sequence: int, at: int, links: dict[str, str], code: str | None
) -> None:
    """The same object as the model's, whatever the order of the links."""
    encoded = encode_rebind_offered(
        binding_id=binding_id,
        saga_id="s-1",
        request_ids=["r-1"],
        sequence=sequence,
        at=at,
        links=links,
        done=[Step.OFFER],
        outcome=Outcome.SUCCESS,
        result_code=code,
        attempts=1,
    )
    event = BindingRebindOffered.model_validate(
        {
            "binding_id": binding_id,
            "saga_id": "s-1",
            "request_ids": ["r-1"],
            "sequence": sequence,
            "at": moment(at),
            "done": [Step.OFFER],
            "step": Step.OFFER,
            "outcome": Outcome.SUCCESS,
            "result_code": code,
            "attempts": 1,
            **links,
        }
    )
    assert BindingRebindOffered.model_validate_json(encoded) == event
    assert len(encoded) == len(event.to_json())


@pytest.mark.parametrize("links", [{}, {"webUrl": "https://w.example"}])
def test_an_offer_needs_links_of_the_contract(links: dict[str, str]) -> None:
    """No link, or one of another name, is an error of the caller."""
    with pytest.raises(ValueError, match="links must be one or more of applinkUrl, authUrl"):
        encode_rebind_offered(binding_id="b", saga_id="s", request_ids=["r"], sequence=1, at=0, links=links)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nextAttemptAt": ...}, "nextAttemptAt is required with state waiting"),
        ({"state": "parked", "nextAttemptAt": ...}, "reason is required with state parked"),
        ({"state": "revoked"}, "nextAttemptAt only goes with state joined or waiting"),
        ({"reason": "failed"}, "reason only goes with state parked"),
        ({"refuseReason": "x"}, "refuseReason only goes with state refused"),
        ({"evidence": "query"}, "evidence only goes with state revoked or unbound"),
        ({"state": "offered"}, "state offered belongs to binding.rebind.offered.v1"),
        ({"sequence": 0}, "sequence must be at least 1"),
        ({"sequence": True}, "sequence must be a whole number"),
        ({"requestIds": []}, "requestIds must have at least 1 entries"),
        ({"step": "call"}, "step must be one of"),
    ],
)
def test_fields_go_with_their_states(changes: dict[str, Any], message: str) -> None:
    """An event that contradicts itself is refused."""
    with pytest.raises(InvalidEvent) as caught:
        read_state(event_of(BINDING_STATE_CHANGED, data_of(BINDING_STATE_CHANGED, **changes)))
    assert message in str(caught.value)


def test_both_events_out_are_read() -> None:
    """The type of the event decides the model."""
    changed = read_state(event_of(BINDING_STATE_CHANGED, data_of(BINDING_STATE_CHANGED)))
    assert isinstance(changed, BindingStateChanged)
    assert (changed.state, changed.at_ms) == (State.WAITING, 1_740_791_729_312)
    assert changed.next_attempt_at_ms == 1_740_791_734_180
    offered = read_state(event_of(BINDING_REBIND_OFFERED, data_of(BINDING_REBIND_OFFERED)))
    assert isinstance(offered, BindingRebindOffered)
    assert offered.at_ms == 1_740_909_600_840
    assert "q81" not in repr(offered)
    with pytest.raises(InvalidEvent, match="on the states topic"):
        read_state(event_of("other.v1", {}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict.fromkeys(LINK_NAMES, ...), "one of authUrl, normalUrl, schemeUrl, applinkUrl is required"),
        ({"state": "waiting"}, "state must be offered"),
        ({"authUrl": "a b"}, "authUrl must not have blanks or control characters"),
    ],
)
def test_an_offer_has_a_link_and_its_state(changes: dict[str, Any], message: str) -> None:
    """An offer without a way to go is none."""
    with pytest.raises(InvalidEvent, match=message):
        read_state(event_of(BINDING_REBIND_OFFERED, data_of(BINDING_REBIND_OFFERED, **changes)))


def test_event_ids_are_a_function_of_saga_and_sequence() -> None:
    """Equal for the same transition, different for any other."""
    made = {state_event_id(saga, number) for saga in ("s1", "s11") for number in (1, 11, 111)}
    assert len(made) == 6
    assert state_event_id("s1", 11) == "s1:11"


def test_the_words_are_those_of_the_glossary() -> None:
    """The closed lists are closed: adding or losing a word is a decision."""
    assert [step.value for step in Step] == [
        "consult",
        "cancel_token",
        "cancel_agreement",
        "notify_merchant",
        "notify_hub",
        "offer",
    ]
    assert [reason.value for reason in Reason] == [
        "failed",
        "outcome_unknown",
        "line_stopped",
        "unreadable",
        "invalid",
        "too_large",
        "expired",
        "queue_full",
        "unwritable",
        "crashed",
    ]
    assert {end.value for end in ENDS} == {"refused", "lapsed", "unbound", "offered", "discarded"}


@given(moments)
def test_moments_survive_the_wire(at: int) -> None:
    """RFC 3339 text and milliseconds are the same moment."""
    assert parse_rfc3339(rfc3339(at)) == at
    assert rfc3339(at) == datetime.fromtimestamp(at // 1000, UTC).strftime(
        f"%Y-%m-%dT%H:%M:%S.{at % 1000:03d}Z"
    )


def test_a_moment_without_offset_is_none() -> None:
    """A naive datetime never gets into an event."""
    fields = {**data_of(BINDING_STATE_CHANGED), "at": datetime(2025, 3, 1)}  # noqa: DTZ001 - the case under test
    with pytest.raises(ValueError, match="with its offset"):
        BindingStateChanged.model_validate(fields)
