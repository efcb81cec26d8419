"""A call that a notice overtakes is lawful: it had left before its step was ended."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.verify.right import BASE, NOTICED, OTHER, OTHER_REQUEST, WAITED, attempt, event
from worker.verify.checker import check
from worker.verify.history import Limits

pytestmark = pytest.mark.promise("P3", "P4", "P5")
CALL_MS = 5


@pytest.mark.parametrize(("late_ms", "kinds"), [(CALL_MS - 1, set[str]()), (CALL_MS, {"revoke.repeated"})])
def test_a_call_that_a_notice_overtakes(late_ms: int, kinds: set[str]) -> None:
    """Within the time of a call after the event it may have left before; later it breaks P3."""
    told = next(event for event in NOTICED.states if event.evidence == "notice")
    begun = told.at - BASE + late_ms
    calls = (attempt(15, "consult"), attempt(begun, "cancel_token"))
    history = replace(NOTICED, attempts=calls, limits=Limits(call_ms=CALL_MS))
    assert {violation.kind for violation in check(history)} == kinds


@pytest.mark.parametrize(("late_ms", "kinds"), [(20, set[str]()), (60, {"sagas.overlap"})])
def test_a_call_that_the_next_saga_overtakes(late_ms: int, kinds: set[str]) -> None:
    """A notice ends a saga while its call is on its way: the next saga of the binding may call before it."""
    told = NOTICED.states[1]
    history = replace(
        NOTICED,
        requests=(*NOTICED.requests, OTHER_REQUEST),
        states=(
            *NOTICED.states,
            event(1, "requested", offset=4, moment=12, **OTHER),
            event(2, "refused", offset=5, moment=200, **OTHER),
        ),
        attempts=(
            attempt(15, "consult"),
            attempt(35, "consult", saga_id="o", target="token:u"),
            attempt(told.at - BASE + late_ms, "consult", attempt=2),
        ),
        limits=Limits(call_ms=50),
    )
    assert {violation.kind for violation in check(history)} == kinds


@pytest.mark.parametrize(("first_at", "kinds"), [(30, set[str]()), (28, {"call.early"})])
def test_a_call_repeated_by_a_clock_that_is_behind(first_at: int, kinds: set[str]) -> None:
    """Once a call in time has ended a wait, a successor whose clock is behind may repeat it."""
    first = attempt(30, "consult", attempt=2, begun_at=BASE + first_at, process="w1", owner="w1")
    again = attempt(33, "consult", attempt=2, begun_at=BASE + 27, process="w2", owner="w2")
    history = replace(WAITED, attempts=(WAITED.attempts[0], first, again))
    assert {violation.kind for violation in check(history)} == kinds
