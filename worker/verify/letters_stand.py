"""P6: a dead letter stands as long as its saga is parked, and no longer.

The topic is compacted: of each key only the latest record is sure to be there, and of a resolved letter
perhaps nothing. So what stands at the end is always judged; the way there where transactions are known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.verify.facts import standing
from worker.verify.history import Topic
from worker.verify.violations import broken

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from worker.verify.facts import Facts
    from worker.verify.history import LetterSeen, StateSeen
    from worker.verify.violations import Violation

_P6 = "P6"


def letters_stand(facts: Facts) -> Iterator[Violation]:
    """Find letters that are missing, left behind, stale or nobody's."""
    for record in facts.history.unreadable:
        if record.topic is Topic.DEAD_LETTERS:
            yield broken("letter.unreadable", (record,))
    if facts.history.ended_before:
        facts.coverage.leave(
            _P6, "sagas: the letters are those of now, the events end before", len(facts.events)
        )
        return
    for saga_id, events in facts.events.items():
        facts.coverage.check(_P6, "sagas")
        letters = facts.letters.get(saga_id, [])
        yield from _stands_while_parked(events, letters)
        yield from _moves(events, letters)
    for letters in facts.letters.values():
        last = letters[-1]
        if last.stands:
            facts.coverage.check(_P6, "letters")
        if last.saga_id is not None and last.saga_id not in facts.events:
            if facts.whole(Topic.STATES):
                yield broken("letter.of_no_saga", (last,))
            else:
                facts.coverage.leave(_P6, "letters of sagas that were parked before the window")
    yield from _loose(facts)


def _stands_while_parked(events: Sequence[StateSeen], letters: Sequence[LetterSeen]) -> Iterator[Violation]:
    last = letters[-1] if letters else None
    stands, parked = last is not None and last.stands, standing(events) == "parked"
    if stands and not parked:
        yield broken("letter.left", (*events[-2:], *letters[-2:]))
    elif parked and not stands:
        yield broken("letter.missing", (*events[-2:], *letters[-2:]))
    elif last is not None and parked:
        event = next(event for event in reversed(events) if event.state == "parked")
        if last.sequence not in (None, event.sequence) or last.reason not in (None, event.reason):
            yield broken("letter.stale", (event, last))


def _moves(events: Sequence[StateSeen], letters: Sequence[LetterSeen]) -> Iterator[Violation]:
    """See that a letter is written with `parked`, and removed in the transaction that leaves it."""
    written = {letter.transaction for letter in letters if letter.stands}
    removed = {letter.transaction for letter in letters if not letter.stands}
    if None in written | removed or any(event.transaction is None for event in events):
        return
    for before, event in zip([None, *events], events, strict=False):
        leaves = before is not None and before.state == "parked" and event.state != "parked"
        gone_again = any(
            other.transaction == event.transaction and other.sequence > event.sequence for other in events
        )
        if event.state == "parked" and event.transaction not in written and not gone_again:
            yield broken("letter.written_apart", (event, *letters))
        if leaves and event.transaction not in removed | written and before is not None:
            together = before.transaction == event.transaction
            if not together:
                yield broken("letter.removed_apart", (before, event, *letters))


def _loose(facts: Facts) -> Iterator[Violation]:
    """Compare the letters without a saga with what the journals know of them."""
    for partition, journal in facts.journals.items():
        standing_now = {
            key: letters[-1]
            for key, letters in facts.letters.items()
            if letters[-1].stands and letters[-1].saga_id is None and letters[-1].partition == partition
        }
        for key in sorted(standing_now.keys() - journal.letters):
            yield broken("letter.not_journaled", (standing_now[key], journal))
        for key in sorted(journal.letters - standing_now.keys()):
            yield broken(
                "letter.gone", (journal,), what=f"the journal knows letter {key}, which does not stand"
            )
