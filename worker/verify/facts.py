"""The history, sorted by what the checks ask for."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from worker.verify.history import Topic
from worker.verify.legal import ENDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from worker.verify.coverage import Coverage
    from worker.verify.history import Attempt, History, JournalSeen, LetterSeen, RequestSeen, StateSeen


class Facts:
    """The history by saga, by request and by letter."""

    def __init__(self, history: History, coverage: Coverage) -> None:
        self.history = history
        self.coverage = coverage
        self.events: dict[str, list[StateSeen]] = defaultdict(list)
        for event in history.states:
            self.events[event.saga_id].append(event)
        self.attempts: dict[str, list[Attempt]] = defaultdict(list)
        for attempt in sorted(history.attempts, key=lambda attempt: attempt.begun):
            self.attempts[attempt.saga_id].append(attempt)
        self.requests: dict[tuple[str, str], list[RequestSeen]] = defaultdict(list)
        for request in history.requests:
            if request.request_id is not None and request.binding_id is not None:
                self.requests[request.binding_id, request.request_id].append(request)
        self.letters: dict[str, list[LetterSeen]] = defaultdict(list)
        for letter in history.letters:
            self.letters[letter.key].append(letter)
        self.journals: dict[int, JournalSeen] = {journal.partition: journal for journal in history.journals}

    def asked(self, event: StateSeen) -> Iterator[RequestSeen]:
        """Yield the requests that an event's saga answers so far."""
        for request_id in event.request_ids:
            yield from self.requests.get((event.binding_id, request_id), ())

    def opened_by(self, saga_id: str) -> RequestSeen | None:
        """Return the request that opened the saga."""
        events = self.events.get(saga_id)
        return None if not events else next(self.asked(events[0]), None)

    def overtaken(self, attempt: Attempt) -> bool:
        """Say whether a call may have left before a notice came; the ledger notes it a little later."""
        return any(
            event.evidence == "notice" and attempt.begun_at < event.at + self.history.limits.call_ms
            for event in self.before(attempt.saga_id, attempt.begun)
        )

    def before(self, saga_id: str, moment: int) -> list[StateSeen]:
        """Return the saga's events that were committed before the moment."""
        return [event for event in self.events.get(saga_id, ()) if event.moment < moment]

    def whole(self, *topics: Topic) -> bool:
        """Tell whether these topics were read from their beginning."""
        return self.history.begun_before.isdisjoint(topics)

    def begins_in_sight(self, events: Sequence[StateSeen]) -> bool:
        """Tell whether a saga's first event was read, or would have been."""
        return events[0].sequence == 1 or self.whole(Topic.STATES)

    def is_due(self, request: RequestSeen) -> bool:
        """Tell whether a request must be accounted for by now: the position has moved past it."""
        if self.history.ended_before:
            return False
        if self.history.at_rest:
            return True
        partition, offset = place_of(request.origin)
        journal = self.journals.get(partition)
        return journal is not None and journal.position is not None and offset < journal.position


def place_of(origin: str) -> tuple[int, int]:
    """Return partition and offset of a record by its origin."""
    _, partition, offset = origin.rsplit("/", 2)
    return int(partition), int(offset)


def standing(events: Sequence[StateSeen]) -> str:
    """Return the last state that says where the saga stands: a join leaves it as it was."""
    return next((event.state for event in reversed(events) if event.state != "joined"), "joined")


def goes_on(events: Sequence[StateSeen]) -> bool:
    """Tell whether a saga has not come to its end; a parked one has not."""
    return standing(events) not in ENDS
