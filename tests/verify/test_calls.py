"""A ledger's calls are matched with the sagas that made them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.verify.right import BASE, GOOD, OTHER, PARKED_GOOD, TWO_SAGAS, event
from worker.sandbox.payment import fingerprint
from worker.verify.calls import Call, attempts_of, fingerprint_of, taken_up_late
from worker.verify.checker import check
from worker.verify.history import Limits, StateSeen

pytestmark = pytest.mark.promise("P3", "P4", "P5")
TOKEN = fingerprint_of("t")
TARGETS = {TOKEN: "token:t", fingerprint_of("u"): "token:u"}


def call(number: int, received_at: int, step: str = "consult", **changes: object) -> Call:
    """Return an answered call for token t."""
    made = Call(
        number=number,
        step=step,
        client_id="w1",
        fingerprint=TOKEN,
        received_at=received_at,
        ended="answered",
        ended_at=received_at + 60,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # the tests name fields that there are


def test_the_fingerprint_is_the_ledgers() -> None:
    """A token has the fingerprint under which the sandbox's ledger keeps it."""
    assert fingerprint_of("tök-1") == fingerprint("tök-1")


def test_calls_of_other_tokens_are_left_out() -> None:
    """A call for a token that no request names is no attempt of a saga."""
    assert [*attempts_of([call(1, 8, fingerprint="x")], GOOD, targets=TARGETS)] == []


def test_a_call_belongs_to_the_saga_under_way() -> None:
    """Of two sagas with one token a call belongs to the one that was under way when it came."""
    requests = tuple(replace(one, targets=frozenset({"token:t"})) for one in TWO_SAGAS.requests)
    history = replace(TWO_SAGAS, requests=requests)
    sagas = [
        one.saga_id for one in attempts_of([call(1, 8), call(2, 12), call(3, 29)], history, targets=TARGETS)
    ]
    # Moments are twice the times: the first saga ends at 20.
    assert sagas == ["s", "s", "o"]


def test_a_call_belongs_to_the_saga_whose_turn_it_is() -> None:
    """Of two sagas with one token, the one that waits for its turn does not call."""
    requests = tuple(replace(one, targets=frozenset({"token:t"})) for one in TWO_SAGAS.requests)
    states = (
        event(1, "requested", moment=2, **OTHER),
        event(1, "requested", moment=4),
        event(2, "refused", moment=40, step="consult"),
        event(2, "refused", moment=60, step="consult", **OTHER),
    )
    history = replace(TWO_SAGAS, requests=requests, states=states)
    sagas = [one.saga_id for one in attempts_of([call(1, 10), call(2, 25)], history, targets=TARGETS)]
    assert sagas == ["s", "o"]


@pytest.mark.parametrize(("received_at", "maker"), [(BASE + 90, "s"), (BASE + 110, "o")])
def test_a_call_that_a_notice_overtook_belongs_to_the_saga_that_it_ended(
    received_at: int, maker: str
) -> None:
    """While the next saga of its token tells of no step, a call may still be the last one's, for a while."""
    requests = tuple(replace(one, targets=frozenset({"token:t"})) for one in TWO_SAGAS.requests)

    def told(sequence: int, state: str, at: int, **changes: object) -> StateSeen:
        return replace(event(sequence, state, moment=at * 2, **changes), at=at)

    states = (
        told(1, "requested", BASE + 1),
        told(2, "unbound", BASE + 10, evidence="notice"),
        told(1, "requested", BASE + 12, **OTHER),
        told(2, "unbound", BASE + 500, evidence="already_unbound", **OTHER),
    )
    history = replace(TWO_SAGAS, requests=requests, states=states, limits=Limits(call_ms=100))
    (made,) = attempts_of([call(1, received_at)], history, targets=TARGETS)
    assert made.saga_id == maker


@pytest.mark.parametrize(("step", "kinds"), [("cancel_token", set[str]()), ("consult", {"call.early"})])
def test_a_call_that_is_cut_off_within_its_ms_came_before_what_it_caused(step: str, kinds: set[str]) -> None:
    """An event of the same ms that tells of a result of that step tells of that call."""
    waiting = replace(
        event(3, "waiting", moment=60, step="cancel_token", attempts=1, next_attempt_at=BASE + 1_000),
        at=BASE + 30,
    )
    states = (*GOOD.states[:2], waiting)
    history = replace(GOOD, states=states, attempts=())
    (made,) = attempts_of([call(1, BASE + 30, step, ended="reset")], history, targets=TARGETS)
    assert (made.begun < (BASE + 30) * 2) is (step == "cancel_token")
    seen = [replace(one, moment=one.at * 2) for one in states]
    judged = check(replace(history, states=tuple(seen), attempts=(made,)))
    assert {violation.kind for violation in judged} & {"call.early"} == kinds


def test_a_call_after_all_ends_belongs_to_the_last_saga() -> None:
    """A call that no saga was under way for belongs to the last that had begun: the checks judge it there."""
    (made,) = attempts_of([call(1, 90, "cancel_token")], replace(GOOD, attempts=()), targets=TARGETS)
    assert made.saga_id == "s"
    history = replace(GOOD, attempts=(made,))
    assert {violation.kind for violation in check(history)} == {"revoke.repeated"}
    (parked,) = attempts_of([call(1, 90)], PARKED_GOOD, targets=TARGETS)
    assert parked.saga_id == "s"


@pytest.mark.parametrize(
    ("ended", "ended_at", "late"),
    [
        ("answered", 110, False),
        ("client_left", 110, True),
        ("client_left", 3_100, False),
        (None, None, False),
    ],
)
def test_a_call_taken_up_late_is_known(ended: str | None, ended_at: int | None, *, late: bool) -> None:
    """Where the caller had gone before its time was up, it is not known when the call began."""
    assert taken_up_late(call(1, 100, ended=ended, ended_at=ended_at), call_ms=3_000) is late
