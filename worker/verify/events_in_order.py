"""P2: a read_committed reader sees every transition once, in order, without gap or repeat."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from contracts.states import state_event_id
from contracts.topics import partition_of
from worker.verify.facts import standing
from worker.verify.history import Topic
from worker.verify.legal import FIRST, follows
from worker.verify.violations import broken

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from worker.verify.facts import Facts
    from worker.verify.history import StateSeen
    from worker.verify.violations import Violation

_P2 = "P2"


def events_in_order(facts: Facts) -> Iterator[Violation]:
    """Find events that are missing, repeated, out of order or nobody's."""
    yield from _unreadable(facts)
    for events in facts.events.values():
        facts.coverage.check(_P2, "sagas")
        facts.coverage.check(_P2, "events", len(events))
        if not facts.begins_in_sight(events):
            facts.coverage.leave(_P2, "sagas that began before what was read: checked from there on")
        yield from _repeated(events)
        yield from _numbered(facts, events)
        yield from _named(facts, events)
        yield from _moves(events)
        yield from _asked_for(facts, events)


def _unreadable(facts: Facts) -> Iterator[Violation]:
    for record in facts.history.unreadable:
        if record.topic is Topic.STATES:
            yield broken("event.unreadable", (record,))


def _repeated(events: Sequence[StateSeen]) -> Iterator[Violation]:
    """Find events of one sequence, and so of one id; those under other ids are misnamed."""
    if len({event.sequence for event in events}) == len(events):
        return
    for sequence, count in Counter(event.sequence for event in events).items():
        if count > 1:
            same = [event for event in events if event.sequence == sequence]
            what = f"event {state_event_id(same[0].saga_id, sequence)} was published {count} times"
            yield broken("event.repeated", same, what=what)


def _is_well_named(event: StateSeen) -> bool:
    return event.event_id in ("", state_event_id(event.saga_id, event.sequence))


def _numbered(facts: Facts, events: Sequence[StateSeen]) -> Iterator[Violation]:
    first = 1 if facts.begins_in_sight(events) else events[0].sequence
    for index, event in enumerate(events):
        if event.sequence != first + index:
            shown = events[max(0, index - 1) : index + 1]
            yield broken(
                "event.out_of_sequence",
                shown,
                what=f"sequence {event.sequence} where {first + index} was due",
            )
            break
    if first == 1 and events[0].state not in FIRST:
        yield broken("event.wrong_beginning", events[:1], what=f"a saga begins with {events[0].state}")


def _named(facts: Facts, events: Sequence[StateSeen]) -> Iterator[Violation]:
    count = facts.history.partitions
    for event in events:
        if not _is_well_named(event):
            yield broken("event.misnamed", (event,))
        if count is not None and partition_of(event.binding_id, count) != event.partition:
            yield broken("event.wrong_partition", (event,))
    if len({event.binding_id for event in events}) > 1:
        yield broken("event.other_binding", events)


def _moves(events: Sequence[StateSeen]) -> Iterator[Violation]:
    for index in range(1, len(events)):
        before, event = events[index - 1], events[index]
        stands = standing(events[:index])
        if not follows(event, standing=stands, before=before):
            yield broken("event.illegal", (before, event), what=f"{event.state} after {stands}")
        # A permission that is too old is asked for again: consult alone may leave the list.
        if not set(before.done) - {"consult"} <= set(event.done):
            yield broken("event.step_undone", (before, event))
        if before.request_ids != event.request_ids and not _joins(before, event):
            yield broken("event.requests_changed", (before, event))


def _joins(before: StateSeen, event: StateSeen) -> bool:
    kept = event.request_ids[: len(before.request_ids)] == before.request_ids
    return kept and event.state == "joined" and len(event.request_ids) == len(before.request_ids) + 1


def _asked_for(facts: Facts, events: Sequence[StateSeen]) -> Iterator[Violation]:
    """See that somebody made the requests; those of before the window are not known."""
    if not facts.whole(Topic.REQUESTS):
        return
    last = events[-1]
    if any((last.binding_id, request_id) not in facts.requests for request_id in last.request_ids):
        yield broken("event.of_no_request", (last,))
