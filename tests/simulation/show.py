"""Shows an outcome so that a person can follow it: one line for each thing that happened, in one course.

Sagas have short names instead of ids; what was committed together stands together; where a promise was seen
to be broken, a line in the course says so.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from worker.verify.history import LetterSeen, StateSeen, VerdictSeen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simulation.scenario import Outcome
    from tests.simulation.setting import Setting
    from worker.verify.checker import Violation
    from worker.verify.history import Attempt

_DIARY = re.compile(r"step (\d+) at [\d.]+ s: (.*)", re.DOTALL)
_ID = re.compile(r"\b[0-9a-f]{32}\b")
_QUIET = ("saga.finished", "saga.parked", "saga.resumed", "command.applied", "command.refused")
"""Log lines that only repeat what is committed."""


def told(outcome: Outcome, *, without: frozenset[str] = frozenset()) -> str:
    """Return the setting, the whole course, what is wrong, and how to see it again."""
    names = _Names()
    course = sorted(_course(outcome), key=lambda line: line.moment)
    shown = [f"{_seconds(outcome, line.moment):>9.3f} s {line.moment:>6}  {line.text}" for line in course]
    wrong = [str(violation) for violation in outcome.violations] + outcome.misuses
    if outcome.failure is not None:
        wrong.append(outcome.failure)
    again = f"python -m tests.simulation {outcome.seed}"
    lines = [
        f"seed {outcome.seed}: {outcome.steps} steps, {outcome.seconds:.0f} simulated seconds",
        _setting(outcome.setting),
        "",
        *shown,
        "",
        *(wrong or ["all promises kept"]),
        *([f"left out: {', '.join(sorted(without))}"] if without else []),
        f"replay it: {again}" + ("" if outcome.good else f", or see it smaller: {again} --shrink"),
    ]
    return names.shorten("\n".join(lines))


@dataclass(frozen=True, slots=True)
class _Line:
    moment: int
    text: str


@dataclass(slots=True)
class _Names:
    """Short names for the ids of sagas, in the order in which they appear."""

    given: dict[str, str] = field(default_factory=dict)

    def shorten(self, text: str) -> str:
        """Put the short names in the place of ids."""
        return _ID.sub(lambda found: self.given.setdefault(found[0], f"saga-{len(self.given) + 1}"), text)


def _course(outcome: Outcome) -> Iterator[_Line]:
    for line in outcome.diary:
        found = _DIARY.fullmatch(line)
        if found is not None and not any(f": {quiet}" in found[2] for quiet in _QUIET):
            yield _Line(int(found[1]), found[2])
    yield from _commits(outcome)
    for attempt in outcome.history.attempts:
        yield _Line(attempt.begun, _begun(attempt))
        if attempt.ended is not None:
            yield _Line(attempt.ended, _ended(attempt))
    for violation in outcome.violations:
        yield _Line(_moment(violation), f">>>>> {str(violation).splitlines()[0]}")


def _commits(outcome: Outcome) -> Iterator[_Line]:
    """Yield what each transaction made visible, in one line or one block."""
    together: dict[tuple[int, int | None, int], list[str]] = {}
    records: tuple[StateSeen | LetterSeen | VerdictSeen, ...] = (
        *outcome.history.states,
        *outcome.history.letters,
        *outcome.history.verdicts,
    )
    for record in records:
        # Records without a transaction are not the worker's; each is its own commit.
        single = 0 if record.transaction is not None else id(record)
        place = (record.moment, record.transaction, single)
        together.setdefault(place, []).append(_record(record))
    for (moment, transaction, _), texts in together.items():
        yield _Line(
            moment, f"committed in transaction {transaction}:" + "".join(f"\n{'':>21}{t}" for t in texts)
        )


def _record(record: StateSeen | LetterSeen | VerdictSeen) -> str:
    if isinstance(record, StateSeen):
        return _event(record)
    if isinstance(record, LetterSeen):
        verb = f"stands, {record.reason}" if record.stands else "is removed"
        return f"letter {record.key} {verb}"
    ruling = "applied" if record.applied else "refused"
    verb = "replay" if record.replay else "discard"
    return f"verdict: {verb} of {record.letter} is {ruling}"


def _event(event: StateSeen) -> str:
    parts = [
        event.step,
        event.reason,
        f"evidence {event.evidence}" if event.evidence else None,
        f"done {', '.join(event.done)}" if event.done else None,
        f"for {', '.join(event.request_ids)}",
    ]
    more = "; ".join(part for part in parts if part)
    return f"{event.binding_id} {event.saga_id} #{event.sequence} {event.state.upper()} {more}"


def _begun(attempt: Attempt) -> str:
    kind = "queries" if attempt.query else "calls"
    which = f"attempt {attempt.attempt} of {attempt.saga_id}"
    return f"{attempt.process} {kind} {attempt.step}, {which}: {attempt.target}"


def _ended(attempt: Attempt) -> str:
    result = attempt.result_class or "no result that could be read"
    return (
        f"{attempt.process} hears of {attempt.step}, attempt {attempt.attempt} of {attempt.saga_id}: {result}"
    )


def _moment(violation: Violation) -> int:
    """Return the moment of the last record that shows a violation."""
    return max((_when(record) for record in violation.shown_by), default=1 << 60)


def _when(record: object) -> int:
    begun: object = getattr(record, "begun", getattr(record, "moment", 0))
    return begun if isinstance(begun, int) else 0


def _seconds(outcome: Outcome, moment: int) -> float:
    index = bisect_right(outcome.moments, moment, key=lambda entry: entry[0])
    return outcome.moments[index - 1][1] if index else 0.0


def _setting(setting: Setting) -> str:
    """Say what the seed chose about the workers, where it is not the usual."""
    usual = type(setting)()
    names = (
        "steps",
        "edition",
        "consult",
        "unconsulted_psps",
        "sizes",
        "remembering",
        "record_most",
        "lingers",
    )
    other = [
        f"{name.replace('_', ' ')} {getattr(setting, name)}"
        for name in names
        if getattr(setting, name) != getattr(usual, name)
    ]
    return "workers: " + ("; ".join(other) or "a plain platform")
