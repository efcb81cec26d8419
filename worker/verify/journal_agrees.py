"""P1, P2 and P8 at a restart: the journal holds what the events say, and nothing else.

A saga that goes on must be there, with its request and at the sequence of its last event. One that has ended
may be there until a block takes it over, but not its request. Blocks are packed digests, which only a shard
can read: what they remember is not checked here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.verify.facts import goes_on
from worker.verify.history import Topic
from worker.verify.violations import broken

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.verify.facts import Facts
    from worker.verify.history import JournalSeen, StateSeen
    from worker.verify.violations import Violation


def journal_agrees(facts: Facts) -> Iterator[Violation]:
    """Compare each journal with the events of its partition."""
    if facts.history.ended_before:
        facts.coverage.leave(
            "P1", "journals: they are those of now, the events end before", len(facts.journals)
        )
        return
    by_partition: dict[int, list[list[StateSeen]]] = {partition: [] for partition in facts.journals}
    for events in facts.events.values():
        if events[0].partition in by_partition:
            by_partition[events[0].partition].append(events)
    for partition, journal in facts.journals.items():
        yield from _readable(journal)
        yield from _position(facts, journal, any_event=bool(by_partition[partition]))
        if not journal.problems:
            yield from _sagas(facts, journal, by_partition[partition])


def _readable(journal: JournalSeen) -> Iterator[Violation]:
    for problem in journal.problems:
        yield broken("journal.unreadable", (journal,), what=problem)


def _position(facts: Facts, journal: JournalSeen, *, any_event: bool) -> Iterator[Violation]:
    if journal.position is None:
        if any_event:
            yield broken("journal.position_missing", (journal,))
        return
    facts.coverage.check("P1", "positions")
    end = facts.history.ends.get(journal.partition)
    if end is not None and journal.position > end:
        yield broken("journal.position_beyond", (journal,), what=f"the requests end at {end}")


def _sagas(facts: Facts, journal: JournalSeen, sagas: list[list[StateSeen]]) -> Iterator[Violation]:
    kept = {saga.saga_id: saga for saga in journal.sagas}
    for events in sagas:
        last = events[-1]
        held = kept.pop(last.saga_id, None)
        requested = last.saga_id in journal.requests
        facts.coverage.check("P1", "sagas in the journal", held is not None)
        shown = (last, journal) if held is None else (last, held)
        if held is not None and held.sequence != last.sequence:
            kind = "journal.ahead" if held.sequence > last.sequence else "journal.behind"
            yield broken(kind, shown)
        elif goes_on(events):
            if held is None or held.ended:
                yield broken("journal.saga_missing", shown)
            elif not requested:
                yield broken("journal.request_missing", shown)
        elif requested:
            yield broken("secret.kept", shown)
    for held in kept.values():
        if facts.whole(Topic.STATES):
            yield broken("journal.of_no_saga", (held,))
        else:
            facts.coverage.leave("P2", "sagas in the journal without an event in the window")
