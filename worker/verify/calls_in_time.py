"""P4: never a call before its `nextAttemptAt`, after the user's time, or beyond its step's patience."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.verify.violations import broken

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from worker.verify.facts import Facts
    from worker.verify.history import Attempt, StateSeen
    from worker.verify.violations import Violation

_P4 = "P4"
USER_STEPS = frozenset({"consult", "offer"})
EXPIRY_GRACE_MS = 5_000
"""A call decided just before `expiresAt` may begin this much later."""


def calls_in_time(facts: Facts) -> Iterator[Violation]:
    """Find calls that came too early or too late: by the ledger, and by the events alone."""
    for saga_id, attempts in facts.attempts.items():
        for number, attempt in enumerate(attempts):
            facts.coverage.check(_P4, "calls")
            yield from _judge(facts, attempt, facts.before(saga_id, attempt.begun), attempts[:number])
    for events in facts.events.values():
        yield from _waits(facts, events)


def _judge(
    facts: Facts, attempt: Attempt, seen: Sequence[StateSeen], earlier: Sequence[Attempt]
) -> Iterator[Violation]:
    event = _wait_before(seen)
    # A quick try follows in process: the wall clock may have jumped back since its call began.
    waits = event is not None and not attempt.quick and not _line_is_stopped(event)
    if (
        event is not None
        and waits
        and attempt.begun_at < (event.next_attempt_at or 0)
        and not _is_over(event, earlier)
    ):
        early = (event.next_attempt_at or 0) - attempt.begun_at
        yield broken("call.early", (event, attempt), what=f"a call {early} ms before its nextAttemptAt")
    expires_at = _expiry(facts, seen)
    if (
        attempt.step in USER_STEPS
        and expires_at is not None
        and attempt.begun_at > expires_at + EXPIRY_GRACE_MS
    ):
        late = attempt.begun_at - expires_at
        yield broken("call.expired", (*seen[-1:], attempt), what=f"a call {late} ms after expiresAt")


def _is_over(event: StateSeen, earlier: Sequence[Attempt]) -> bool:
    """Say whether a call in time has ended the wait: a successor may repeat it by a clock that is behind."""
    return any(
        attempt.begun > event.moment and attempt.begun_at >= (event.next_attempt_at or 0)
        for attempt in earlier
    )


def _wait_before(seen: Sequence[StateSeen]) -> StateSeen | None:
    for event in reversed(seen):
        if event.next_attempt_at is not None:
            return event
        if event.state != "joined":
            return None
    return None


def _expiry(facts: Facts, seen: Sequence[StateSeen]) -> int | None:
    """Return the latest `expiresAt` of the saga's requests; none of one request is none of all."""
    if not seen:
        return None
    ends = [request.expires_at for request in facts.asked(seen[-1])]
    known = [end for end in ends if end is not None]
    return max(known) if known and len(known) == len(ends) else None


# --- by the events alone ---------------------------------------------------------------------


def _waits(facts: Facts, events: Sequence[StateSeen]) -> Iterator[Violation]:
    """See that results come after the wait, and that waits end within the patience of their step."""
    clocks_ms = facts.history.limits.clocks_ms
    if clocks_ms is None:
        return
    due: StateSeen | None = None
    first: StateSeen | None = None
    for event in events:
        if due is not None and _is_early(due, event, clocks_ms):
            yield broken("result.early", (due, event))
        if event.state == "joined":
            # It may have woken the wait and given it patience anew.
            due, first = (event, None) if event.next_attempt_at is not None else (due, first)
            continue
        waits = event.state == "waiting" and not _line_is_stopped(event)
        if not waits or (first is not None and first.step != event.step):
            first = None
        due = event if event.state == "waiting" else None
        if waits:
            facts.coverage.check(_P4, "waits")
            first = first or event
            yield from _patient(facts, first, event, clocks_ms)


def _is_early(due: StateSeen, event: StateSeen, clocks_ms: int) -> bool:
    came = event.step is not None and (due.step in (None, event.step)) and event.attempts > due.attempts
    return came and event.at + clocks_ms < (due.next_attempt_at or 0)


def _line_is_stopped(event: StateSeen) -> bool:
    """Tell whether the saga waits for its line: it may open at any moment, so no later one is promised."""
    return event.next_attempt_at is None or event.next_attempt_at <= event.at


def _patient(facts: Facts, first: StateSeen, event: StateSeen, clocks_ms: int) -> Iterator[Violation]:
    """Patience counts from the step's first attempt, which came before the first wait was decided."""
    patience_ms = facts.history.limits.patience_ms.get(event.step or "")
    if patience_ms is not None and (event.next_attempt_at or 0) > first.at + patience_ms + clocks_ms:
        over = (event.next_attempt_at or 0) - first.at - patience_ms
        shown = (event,) if event is first else (first, event)
        what = f"an attempt is planned {over} ms beyond the patience of {event.step}"
        yield broken("wait.beyond_patience", shown, what=what)
