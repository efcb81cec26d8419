"""P5: sagas of one binding never overlap."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING

from worker.verify.legal import ENDS
from worker.verify.violations import broken

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from worker.verify.facts import Facts
    from worker.verify.history import Attempt, StateSeen
    from worker.verify.violations import Violation

_P5 = "P5"
_STOPS = ENDS | {"parked"}
_ITS_TURN = frozenset({"allowed", "refused", "waiting", "held", "offered", "revoked"})
"""States that only a saga reaches whose turn has come; `revoked` with evidence apart."""


def sagas_apart(facts: Facts) -> Iterator[Violation]:
    """Find sagas of one binding that were under way together: by the ledger, and by the events alone."""
    for attempts in facts.attempts.values():
        yield from _one_at_a_time(attempts)
    by_binding: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in facts.history.attempts:
        by_binding[attempt.binding_id].append(attempt)
    for attempts in by_binding.values():
        facts.coverage.check(_P5, "calls", len(attempts))
        yield from _one_saga_at_a_time(facts, sorted(attempts, key=lambda attempt: attempt.begun))
    facts.coverage.check(_P5, "bindings", len({event.binding_id for event in facts.history.states}))
    yield from _turns(facts.history.states)


def _one_at_a_time(attempts: Sequence[Attempt]) -> Iterator[Violation]:
    for earlier, later in pairwise(attempts):
        if earlier.ended is None or earlier.step != later.step or later.begun > earlier.ended:
            continue
        if earlier.process == later.process:
            yield broken("attempts.overlap", (earlier, later))


def _one_saga_at_a_time(facts: Facts, attempts: Sequence[Attempt]) -> Iterator[Violation]:
    last: dict[str, Attempt] = {}
    for attempt in attempts:
        if facts.overtaken(attempt):
            continue  # it was on its way when a notice gave the turn to the next saga
        for saga_id, earlier in last.items():
            if saga_id != attempt.saga_id and _active(facts, earlier, attempt.begun):
                what = f"begun while saga {saga_id} of the same binding was under way"
                yield broken("sagas.overlap", (earlier, attempt), what=what)
        last[attempt.saga_id] = attempt


def _active(facts: Facts, earlier: Attempt, moment: int) -> bool:
    """Say whether the saga had begun a call and had neither ended nor parked since."""
    return not any(
        event.moment >= earlier.begun and event.state in _STOPS
        for event in facts.before(earlier.saga_id, moment)
    )


def _turns(events: Sequence[StateSeen]) -> Iterator[Violation]:
    """See that between a saga's turn and its end, or its parking, no other saga of the binding has one."""
    active: dict[str, StateSeen] = {}
    for event in events:
        before = active.get(event.binding_id)
        if event.state in _ITS_TURN and event.evidence is None:
            if before is not None and before.saga_id != event.saga_id:
                yield broken("sagas.interleaved", (before, event))
            before = active[event.binding_id] = event
        if before is not None and before.saga_id == event.saga_id and event.state in _STOPS:
            del active[event.binding_id]
