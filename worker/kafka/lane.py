"""A lane fetches some inputs of all open shards over its own connections, and delivers them at once.

There are two: requests, and commands with notices. So a quiet input's long poll never holds up a busy one,
and the request that is sent most often names a third of the partitions.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from aiokafka import errors as kafka
from aiokafka.structs import TopicPartition

from worker.kafka.faults import read_reason
from worker.kafka.records import to_record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from worker.kafka.feed import PartitionFeed
    from worker.kafka.reader import Fetched, Reader
    from worker.ports import Input, Observer, Record

_RETRY_S: Final = 0.25
_ASIDE_WAIT_MS: Final = 50
_LAST_FETCH_S: Final = 1.0
_HELD_UP_S: Final = 10.0
"""So long may records wait behind an open transaction before it is told."""


class Outlet(Protocol):
    """One shard, as a lane sees it."""

    @property
    def feed(self) -> PartitionFeed:
        """What it wants, and from where."""
        ...

    def offer(self, records: Sequence[Record]) -> None:
        """Take these records, in order, without waiting."""
        ...


@dataclass(frozen=True, slots=True)
class _Wish:
    """What was asked for in one fetch, of one partition."""

    source: Input
    outlet: Outlet
    era: int


@dataclass(frozen=True, slots=True)
class _Flight:
    """A fetch on its way, over one of a broker's two lines."""

    line: tuple[int, bool]
    wishes: dict[TopicPartition, _Wish]


class Lane:
    """Fetches and delivers until it is cancelled."""

    def __init__(
        self,
        *,
        reader: Reader,
        topics: Mapping[Input, str],
        outlets: Callable[[], Mapping[int, Outlet]],
        wait_ms: int,
        pace_ms: int,
        partition_bytes: int,
        observer: Observer,
    ) -> None:
        """Take the lane's own reader, its inputs' topics, and the shards by partition.

        ``wait_ms``: how long a broker holds an empty answer back. A partition that is opened meanwhile does
        not wait for that: it is fetched aside, over a second line. ``pace_ms``: the least time between two
        fetches over a line, to spare CPU.
        """
        self._reader = reader
        self._topics = topics
        self._outlets = outlets
        self._wait_ms = wait_ms
        self._pace_s = pace_ms / 1000
        self._partition_bytes = partition_bytes
        self._observer = observer
        self._changed = asyncio.Event()
        self._fetches: dict[asyncio.Task[dict[TopicPartition, Fetched]], _Flight] = {}
        self._held_up: dict[TopicPartition, tuple[int, float]] = {}
        """Where a partition stands still behind an open transaction, and since when."""
        self._resting: dict[TopicPartition, float] = {}
        """Until when a partition that could not be read is left alone: a broker answers an error at once."""

    def wake(self) -> None:
        """Look again at what is wanted."""
        self._changed.set()

    async def run(self) -> None:
        """Fetch and deliver until cancelled; what is on its way then is left to ``close``."""
        changed = asyncio.create_task(self._changed.wait())
        try:
            while True:
                retry_s = await self._send()
                await asyncio.wait(
                    {changed, *self._fetches}, timeout=retry_s, return_when=asyncio.FIRST_COMPLETED
                )
                if changed.done():
                    self._changed.clear()
                    changed = asyncio.create_task(self._changed.wait())
                for fetch in [fetch for fetch in self._fetches if fetch.done()]:
                    self._deliver(fetch)
        finally:
            changed.cancel()

    async def close(self) -> None:
        """Let the last fetches end, then close the connections.

        A fetch is not cancelled before a second has passed: aiokafka would lose track of a connection that is
        just being made.
        """
        if self._fetches:
            _done, late = await asyncio.wait(self._fetches, timeout=_LAST_FETCH_S)
            for fetch in late:
                fetch.cancel()
            await asyncio.gather(*self._fetches, return_exceptions=True)
        self._fetches.clear()
        await self._reader.close()

    async def _send(self) -> float | None:
        """Start a fetch over each free line to a broker that leads something wanted and not asked for yet."""
        wishes: dict[TopicPartition, _Wish] = {}
        positions: dict[TopicPartition, int] = {}
        for partition, outlet in self._outlets().items():
            for source, position in outlet.feed.wanted(self._topics.keys()).items():
                tp = TopicPartition(self._topics[source], partition)
                wishes[tp] = _Wish(source, outlet, outlet.feed.era)
                positions[tp] = position
        if not positions:
            return None
        try:
            nodes, unknown = await self._reader.leaders(positions)
        except (kafka.KafkaError, OSError, TimeoutError) as error:
            self._trouble(wishes, error)
            return _RETRY_S
        now = asyncio.get_running_loop().time()
        self._resting = {tp: until for tp, until in self._resting.items() if until > now and tp in wishes}
        for node, group in nodes.items():
            for aside in (False, True):
                fresh = [tp for tp in group if tp not in self._resting and not self._is_asked(tp)]
                if fresh and not any(flight.line == (node, aside) for flight in self._fetches.values()):
                    fetch = asyncio.create_task(
                        self._fetch((node, aside), {tp: positions[tp] for tp in fresh})
                    )
                    self._fetches[fetch] = _Flight((node, aside), {tp: wishes[tp] for tp in fresh})
        return _RETRY_S if unknown or self._resting else None

    def _is_asked(self, tp: TopicPartition) -> bool:
        """Tell whether a fetch is on its way whose answer will still be wanted."""
        wishes = (flight.wishes.get(tp) for flight in self._fetches.values())
        return any(wish is not None and wish.outlet.feed.era == wish.era for wish in wishes)

    async def _fetch(
        self, line: tuple[int, bool], positions: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, Fetched]:
        loop = asyncio.get_running_loop()
        began = loop.time()
        node, aside = line
        found = await self._reader.fetch_from(
            node,
            positions,
            committed=True,
            wait_ms=_ASIDE_WAIT_MS if aside else self._wait_ms,
            partition_bytes=self._partition_bytes,
            aside=aside,
        )
        rest = self._pace_s - (loop.time() - began)
        if rest > 0:
            await asyncio.sleep(rest)
        return found

    def _deliver(self, fetch: asyncio.Task[dict[TopicPartition, Fetched]]) -> None:
        flight = self._fetches.pop(fetch)
        for tp, fetched in fetch.result().items():
            wish = flight.wishes[tp]
            feed = wish.outlet.feed
            if feed.era != wish.era or wish.source not in feed.wanted(self._topics.keys()):
                continue  # sought, shut or paused meanwhile: it will be asked for again
            if fetched.error is not None:
                self._resting[tp] = asyncio.get_running_loop().time() + _RETRY_S
                self._trouble({tp: wish}, fetched.error)
                continue
            held_up = self._behind_whom(tp, fetched)
            if held_up is not None:
                self._tell(tp, wish, held_up)
                continue
            feed.trouble.pop(wish.source, None)
            feed.advance(wish.source, fetched.position)
            if fetched.records:
                wish.outlet.offer(
                    [to_record(record, source=wish.source, tp=tp) for record in fetched.records]
                )

    def _trouble(self, wishes: Mapping[TopicPartition, _Wish], error: Exception) -> None:
        for tp, wish in wishes.items():
            self._tell(tp, wish, f"cannot be read: {read_reason(error)}")

    def _behind_whom(self, tp: TopicPartition, fetched: Fetched) -> str | None:
        """Say so if records have waited for long behind a transaction that somebody has left open."""
        hidden = 0 <= fetched.last_stable_offset <= fetched.position < fetched.high_watermark
        if fetched.records or not hidden:
            self._held_up.pop(tp, None)
            return None
        now = asyncio.get_running_loop().time()
        position, since = self._held_up.get(tp, (fetched.position, now))
        if position != fetched.position:
            since = now
        self._held_up[tp] = (fetched.position, since)
        if now - since < _HELD_UP_S:
            return None
        return (
            f"stands still at offset {fetched.position}: a transaction that stands open hides the rest "
            "(`kafka-transactions.sh find-hanging` names it; find out whether it was committed before you "
            "abort it)"
        )

    def _tell(self, tp: TopicPartition, wish: _Wish, what: str) -> None:
        trouble = f"{tp.topic}/{tp.partition} {what}"
        if wish.outlet.feed.trouble.get(wish.source) != trouble:
            self._observer.log("input.missed", partition=tp.partition, topic=tp.topic, cause=trouble)
        wish.outlet.feed.trouble[wish.source] = trouble
