"""A worker of the next version, as far as others see it: this one's rules, and more in what it writes.

It adds a member to each journal record that can take one, a record of its own under ``aside:``, a member to
each event and a header to each letter. `CurrentLog` watches that this version keeps what it does not know.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import orjson
from typing_extensions import override

from contracts.topics import LogicalTopic
from tests.simulation.passing_log import PassingLog
from worker.ports import Write

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from worker.ports import JournalRecord, Log

MEMBER: Final = "nextVersion"
_JSON_KINDS: Final = (b"position", b"state:", b"line:")
"""What a version keeps the unknown members of; a ``dead:`` record is written whole each time."""


@dataclass(slots=True)
class Fleet:
    """What became of the next version's members, in all workers of a world."""

    added: int = 0
    """How many members the next version wrote."""
    read: int = 0
    """How many this version found when it restored."""
    kept: int = 0
    """How many this version wrote again."""
    lost: list[str] = field(default_factory=list)


class FleetLog(PassingLog):
    """A log of one worker of the fleet."""

    def __init__(self, log: Log, fleet: Fleet) -> None:
        super().__init__(log)
        self.fleet = fleet


class NextLog(FleetLog):
    """Writes as the next version would."""

    @override
    async def commit(self, writes: Sequence[Write]) -> None:
        """Write more than was asked for."""
        aside = Write(
            topic=LogicalTopic.JOURNAL, key=b"aside:pace:1", value=orjson.dumps({"v": 7, "rate": 0.5})
        )
        await self.log.commit([*(self._more(write) for write in writes), aside])

    def _more(self, write: Write) -> Write:
        if write.value is None:
            return write
        if write.topic is LogicalTopic.DEAD_LETTERS:
            return replace(write, headers=(*write.headers, ("unbinding-next-version", b"\xff")))
        if write.topic is LogicalTopic.STATES or (
            write.topic is LogicalTopic.JOURNAL and (write.key or b"").startswith(_JSON_KINDS)
        ):
            found: dict[str, Any] = orjson.loads(write.value)
            found.get("letter", found)[MEMBER] = {"of": (write.key or b"").decode(), "since": 1}
            self.fleet.added += 1
            return replace(write, value=orjson.dumps(found))
        return write


class CurrentLog(FleetLog):
    """This version's log; it notes each unknown member that was restored and not written again."""

    def __init__(self, log: Log, fleet: Fleet) -> None:
        super().__init__(log, fleet)
        self._marked: set[bytes] = set()

    @override
    async def journal(self) -> AsyncIterator[Sequence[JournalRecord]]:
        """Read the journal, and note which records have the member."""
        self._marked.clear()
        async for records in self.log.journal():
            for record in records:
                self._note(record.key, record.value)
            yield records
        self.fleet.read += len(self._marked)

    @override
    async def commit(self, writes: Sequence[Write]) -> None:
        """Write all of it, and note what is missing in it."""
        for write in writes:
            if write.topic is not LogicalTopic.JOURNAL or write.key not in self._marked:
                continue
            if write.value is not None and not _marked(write.value):
                self.fleet.lost.append(
                    f"{write.key.decode()} was written without the member: {write.value!r}"
                )
            self.fleet.kept += write.value is not None
            self._note(write.key, write.value)
        await self.log.commit(writes)

    def _note(self, key: bytes, value: bytes | None) -> None:
        if value is not None and key.startswith(_JSON_KINDS) and _marked(value):
            self._marked.add(key)
        else:
            self._marked.discard(key)


def _marked(value: bytes) -> bool:
    found: dict[str, Any] = orjson.loads(value)
    return MEMBER in found.get("letter", found)
