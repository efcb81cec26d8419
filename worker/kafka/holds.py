"""The standing holds: a small compacted topic that is read whole before any call, and then followed.

It is read by our own reader, not by a FastStream subscriber: that one cannot tell when the end was reached,
and drops a whole batch when one header in it is not UTF-8. A dropped hold is a call that must not be made.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiokafka.structs import TopicPartition

from contracts.commands import read_hold
from contracts.wire import InvalidEvent
from worker.kafka.faults import read_fault_of
from worker.kafka.reader import EARLIEST, LATEST
from worker.ports import LogError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from contracts.commands import Hold
    from contracts.states import Step
    from worker.kafka.batches import LogRecord
    from worker.kafka.reader import Reader
    from worker.ports import Observer

_WAIT_MS: Final = 1_000
_RETRY_S: Final = 1.0
_FETCH_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Standing:
    """A hold, with its end at hand."""

    hold: Hold
    until_at: int


class HoldsFollower:
    """The holds as far as they have been read (ports.Holds). ``run`` reads and follows until cancelled."""

    def __init__(
        self,
        *,
        reader: Reader,
        topic: str,
        counterpart_of: Callable[[Step], str],
        changed: Callable[[], None],
        observer: Observer,
    ) -> None:
        """Take a reader of its own, whose counterpart performs which step, and whom to tell of a change."""
        self._reader = reader
        self._partition = TopicPartition(topic, 0)
        self._counterpart_of = counterpart_of
        self._changed = changed
        self._observer = observer
        self._standing: dict[str, _Standing] = {}
        self._known = False
        self._reading = True
        self._told: str | None = None
        """What was told last, since it could last be read."""
        self.trouble: str | None = "has not been read yet"
        """Why the holds are not known or may be out of date, ``None`` if all is well."""

    def known(self) -> bool:
        """Tell whether the topic has been read whole; until then no call may begin."""
        return self._known

    @property
    def standing(self) -> Mapping[str, Hold]:
        """The holds that were neither released nor replaced, by id; expired ones among them."""
        return {name: standing.hold for name, standing in self._standing.items()}

    def held_until(
        self, *, step: Step, auth_client_id: str | None, merchants: Sequence[str], now_at: int
    ) -> int | None:
        """Say when the last hold that covers such a call ends (ms since the epoch), or ``None``."""
        counterpart = self._counterpart_of(step)
        ends = [
            standing.until_at
            for standing in self._standing.values()
            if now_at < standing.until_at
            and any(
                standing.hold.covers(
                    step=step,
                    counterpart=counterpart,
                    now_ms=now_at,
                    auth_client_id=auth_client_id,
                    merchant=merchant,
                )
                for merchant in (merchants or (None,))
            )
        ]
        return max(ends, default=None)

    async def run(self) -> None:
        """Read the topic to its end, then follow it, until cancelled; troubles are told once and tried again.

        When following breaks off, the holds stay known while the topic is read anew; if that fails, they are
        not known any more.
        """
        while True:
            self._reading = True
            try:
                await self._follow()
            except LogError as error:
                self._miss(str(error))
            await asyncio.sleep(_RETRY_S)

    async def stop(self) -> None:
        """Close the reader."""
        await self._reader.close()

    async def _follow(self) -> None:
        tp = self._partition
        mark = (await self._reader.offsets([tp], at=LATEST))[tp]
        position = (await self._reader.offsets([tp], at=EARLIEST))[tp]
        found: dict[str, _Standing] = {}
        while position < mark:
            records, after = await self._fetch(position)
            if after == position:
                self._say(f"{tp.topic} stands still at offset {position} before its end {mark}")
            self._apply(records, to=found)
            position = after
        self._take(found)
        while True:
            records, position = await self._fetch(position)
            self._told = None
            if records:
                self._apply(records, to=found)
                self._take(found)

    async def _fetch(self, position: int) -> tuple[list[LogRecord], int]:
        fetched = await self._reader.fetch(
            self._partition, position, committed=True, wait_ms=_WAIT_MS, partition_bytes=_FETCH_BYTES
        )
        if fetched.error is not None:
            doing = f"read {self._partition.topic} at offset {position}"
            raise read_fault_of(fetched.error, doing=doing) from fetched.error
        return fetched.records, fetched.position

    def _apply(self, records: Iterable[LogRecord], *, to: dict[str, _Standing]) -> None:
        for record in records:
            name = (record.key or b"").decode(errors="replace")
            if record.value is None:
                to.pop(name, None)
                continue
            try:
                hold = read_hold(record.value)
            except InvalidEvent as error:
                # The last word under this id is no hold: an earlier one stays, stopping is the safe side.
                self._observer.log("hold.ignored", hold_id=name, offset=record.offset, cause=str(error))
            else:
                to[name] = _Standing(hold, hold.until_ms)

    def _take(self, found: Mapping[str, _Standing]) -> None:
        before, self._standing = self._standing, dict(found)
        for name in sorted(before.keys() - found.keys()):
            self._observer.log("hold.ended", hold_id=name)
        for name in sorted(name for name, standing in found.items() if before.get(name) != standing):
            self._observer.log("hold.began", hold_id=name, until_at=found[name].until_at)
        first, self._known, self._reading = not self._known, True, False
        self.trouble = None
        if first:
            self._observer.log("holds.followed", count=len(found))
        if first or before != self._standing:
            self._changed()

    def _miss(self, trouble: str) -> None:
        if self._reading and self._known:
            self._known = False
            self._changed()
        self._say(trouble)

    def _say(self, trouble: str) -> None:
        if trouble != self._told:
            self._observer.log("holds.missed", cause=trouble)
        self._told = self.trouble = trouble
