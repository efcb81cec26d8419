"""Shows an outcome so that a person can follow it: what was done, what was published, what was called."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.scenario import Outcome
    from worker.verify.history import Attempt, LetterSeen, StateSeen


def told(outcome: Outcome) -> str:
    """Return the diary, the events and the attempts in one course of steps, and then what is wrong."""
    lines = [(int(line.split()[1]), f"  {line}") for line in outcome.diary]
    lines += [(event.moment, _event(event)) for event in outcome.history.states]
    lines += [(letter.moment, _letter(letter)) for letter in outcome.history.letters]
    for attempt in outcome.history.attempts:
        lines.append((attempt.begun, _begun(attempt)))
        if attempt.ended is not None:
            lines.append((attempt.ended, _ended(attempt)))
    lines.sort(key=lambda line: line[0])
    wrong = [str(violation) for violation in outcome.violations] + outcome.misuses
    if outcome.failure is not None:
        wrong.append(outcome.failure)
    return "\n".join(
        [
            f"seed {outcome.seed}: {outcome.steps} steps, {outcome.seconds:.0f} simulated seconds",
            *(text for _, text in lines),
            "",
            *(wrong or ["all promises kept"]),
            f"replay it: python -m tests.simulation {outcome.seed}",
        ]
    )


def _event(event: StateSeen) -> str:
    parts = [event.step, event.reason, event.evidence, f"done {','.join(event.done)}" if event.done else None]
    told_more = " ".join(part for part in parts if part)
    return (
        f"  step {event.moment}: [{event.partition}] {event.binding_id} saga {event.saga_id[:8]} "
        f"#{event.sequence} {event.state.upper()} {told_more} for {','.join(event.request_ids)}"
    )


def _letter(letter: LetterSeen) -> str:
    what = "stands" if letter.stands else "is removed"
    return f"  step {letter.moment}: [{letter.partition}] letter {letter.key[:24]} {what}"


def _begun(attempt: Attempt) -> str:
    kind = "query of " if attempt.query else ""
    return (
        f"  step {attempt.begun}: {attempt.process} calls {kind}{attempt.step} ({attempt.attempt}) "
        f"for saga {attempt.saga_id[:8]}, {attempt.target}"
    )


def _ended(attempt: Attempt) -> str:
    return f"  step {attempt.ended}: {attempt.step} of saga {attempt.saga_id[:8]} gave {attempt.result_class}"
