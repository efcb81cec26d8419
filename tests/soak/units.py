"""Sorts a history into units: what concerns one binding, or one record that names none. Pure."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from contracts.topics import LogicalTopic
from worker.verify.history import CommandSeen, LetterSeen, NoticeSeen, RequestSeen, StateSeen, VerdictSeen

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.simulation.cluster import Stored
    from worker.verify.history import History

Place = tuple[LogicalTopic, int, int]
"""Topic, partition and offset of a record."""


class Units:
    """The units of a history; records of one unit are judged, and forgotten, together."""

    def __init__(self, history: History) -> None:
        self._of_key: dict[str, str] = {}
        """Unit of a saga id, of the origin of a request, or of a target."""
        self._of_place: dict[Place, str] = {}
        self.tokens: dict[str, set[str]] = defaultdict(set)
        """The tokens that the requests of a unit name."""
        self.last_at: dict[str, int] = {}
        """When the last record of a unit was written, ms since the Unix epoch."""
        self._standing: dict[str, str] = {}
        for request in history.requests:
            unit = request.binding_id or request.origin
            self._of_key[request.origin] = unit
            self._of_place[_place(LogicalTopic.REQUESTS, request.origin)] = unit
            for target in request.targets:
                self._of_key[target] = unit
                if target.startswith("token:"):
                    self.tokens[unit].add(target.removeprefix("token:"))
        for event in history.states:
            self._of_key[event.saga_id] = event.binding_id
            self._of_place[LogicalTopic.STATES, event.partition, event.offset] = event.binding_id
            if event.state != "joined":
                self._standing[event.saga_id] = event.state
        for letter in history.letters:
            place = LogicalTopic.DEAD_LETTERS, letter.partition, letter.offset
            self._of_place[place] = self.of_key(letter.key)
        for command in history.commands:
            unit = self.of_key(command.letter or command.origin)
            self._of_place[_place(LogicalTopic.COMMANDS, command.origin)] = unit
        for verdict in history.verdicts:
            place = LogicalTopic.VERDICTS, verdict.partition, verdict.offset
            self._of_place[place] = self.of_key(verdict.letter or verdict.command)
        for notice in history.notices:
            named = [self._of_key[target] for target in notice.targets if target in self._of_key]
            self._of_place[_place(LogicalTopic.NOTICES, notice.origin)] = named[0] if named else notice.origin
        self._parked = {
            self._of_key[saga_id] for saga_id, state in self._standing.items() if state == "parked"
        }

    def of_key(self, key: str) -> str:
        """Return the unit of a saga id or an origin; one that is not known is a unit of its own."""
        return self._of_key.get(key, key)

    def of(self, topic: LogicalTopic, stored: Stored) -> str:
        """Return the unit of a record."""
        place = topic, stored.partition, stored.offset
        return self._of_place.get(place) or f"{stored.topic}/{stored.partition}/{stored.offset}"

    def date(self, records: Iterable[tuple[LogicalTopic, Stored]]) -> None:
        """Take in when each record was written."""
        for topic, stored in records:
            unit = self.of(topic, stored)
            self.last_at[unit] = max(self.last_at.get(unit, 0), stored.timestamp_at)

    def shown_by(self, shown: Iterable[object]) -> set[str]:
        """Return the units of which the records of a violation tell."""
        found = set()
        for record in shown:
            match record:
                case RequestSeen() | NoticeSeen():
                    found.add(self.of_key(record.origin))
                case StateSeen():
                    found.add(record.binding_id)
                case LetterSeen():
                    found.add(self.of_key(record.key))
                case CommandSeen():
                    found.add(self.of_key(record.letter or record.origin))
                case VerdictSeen():
                    found.add(self.of_key(record.letter or record.command))
                case _:
                    pass
        return found

    def quiet(self, *, since: int, waiting: Iterable[str]) -> set[str]:
        """Return the units of which nothing was heard since then, and which wait for nobody.

        `waiting` are the keys of the letters that stand.
        """
        busy = self._parked | {self.of_key(key) for key in waiting}
        return {unit for unit, at in self.last_at.items() if at < since and unit not in busy}

    def ends(self, units: Iterable[str]) -> list[str]:
        """Return the last state of each saga of these units."""
        wanted = set(units)
        return [state for saga_id, state in self._standing.items() if self._of_key[saga_id] in wanted]


def _place(topic: LogicalTopic, origin: str) -> Place:
    _, partition, offset = origin.rsplit("/", 2)
    return topic, int(partition), int(offset)
