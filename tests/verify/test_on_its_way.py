"""A call that a notice overtakes is lawful: it had left before its step was ended."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.verify.right import BASE, NOTICED, attempt
from worker.verify.checker import check
from worker.verify.history import Limits

pytestmark = pytest.mark.promise("P3")
CALL_MS = 5


@pytest.mark.parametrize(("late_ms", "kinds"), [(CALL_MS - 1, set[str]()), (CALL_MS, {"revoke.repeated"})])
def test_a_call_that_a_notice_overtakes(late_ms: int, kinds: set[str]) -> None:
    """Within the time of a call after the event it may have left before; later it breaks P3."""
    told = next(event for event in NOTICED.states if event.evidence == "notice")
    begun = told.at - BASE + late_ms
    calls = (attempt(15, "consult"), attempt(begun, "cancel_token"))
    history = replace(NOTICED, attempts=calls, limits=Limits(call_ms=CALL_MS))
    assert {violation.kind for violation in check(history)} == kinds
