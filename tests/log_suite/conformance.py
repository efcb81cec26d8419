"""The behaviours of a log that the shard relies on, each as a test."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import TYPE_CHECKING

import pytest

from contracts.topics import LogicalTopic, topic_name
from worker.ports import (
    Fenced,
    Input,
    JournalRecord,
    LogError,
    LogInterrupted,
    RestoreStalled,
    Write,
    WriteRefused,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from tests.log_suite import Bench
    from worker.ports import Log

JOURNAL = LogicalTopic.JOURNAL
STATES = LogicalTopic.STATES
REQUESTS = LogicalTopic.REQUESTS

PATIENCE_S = 20.0
"""How long a condition may take: generous, a broken log fails by it."""
BREAKS = 12
"""At how many different moments a commit is broken off."""


def write(key: bytes, value: bytes | None = b"value", *, topic: LogicalTopic = JOURNAL) -> Write:
    """Return a write to the shard's own partition."""
    return Write(topic=topic, key=key, value=value)


def keys(records: Sequence[JournalRecord]) -> list[bytes]:
    """Return the keys in order."""
    return [record.key for record in records]


async def restored(log: Log) -> list[JournalRecord]:
    """Return the whole journal as a restore reads it."""
    return [record async for batch in log.journal() for record in batch]


async def eventually(
    look: Callable[[], Awaitable[Sequence[JournalRecord]]], expected: Sequence[bytes]
) -> None:
    """Wait until the keys that are seen are the expected ones; fail with both after the patience."""
    seen: list[bytes] = []
    try:
        async with asyncio.timeout(PATIENCE_S):
            while (seen := keys(await look())) != list(expected):  # noqa: ASYNC110 - a log has no event to wait for
                await asyncio.sleep(0.01)
    except TimeoutError:
        assert seen == list(expected)


async def becomes(look: Callable[[], Awaitable[int]], expected: int) -> None:
    """Wait until the number is the expected one; fail with both after the patience."""
    seen = None
    try:
        async with asyncio.timeout(PATIENCE_S):
            while (seen := await look()) != expected:  # noqa: ASYNC110 - a log has no event to wait for
                await asyncio.sleep(0.01)
    except TimeoutError:
        assert seen == expected


class LogConformance:
    """Inherit it, and give the fixture `bench`."""

    @pytest.fixture
    @abstractmethod
    def bench(self, request: pytest.FixtureRequest) -> Awaitable[Bench] | AsyncIterator[Bench]:
        """Return a fresh bench."""

    async def test_commit_shows_all_of_it(self, bench: Bench) -> None:
        """A commit shows all its records, in order per topic, with keys, values, tombstones and headers."""
        log = bench.log(0)
        await log.fence()
        headers = (("ce_id", b"1"), ("ce_id", b"2"))
        await log.commit(
            [
                Write(topic=JOURNAL, key=b"a", value=b"1", headers=headers),
                write(b"binding", topic=STATES),
                write(b"b", None),
                write(b"a", b"2"),
            ]
        )
        await eventually(lambda: bench.visible(JOURNAL, 0), [b"a", b"b", b"a"])
        await eventually(lambda: bench.visible(STATES, 0), [b"binding"])
        assert await restored(log) == [
            JournalRecord(b"a", b"1", headers),
            JournalRecord(b"b", None),
            JournalRecord(b"a", b"2"),
        ]

    async def test_commits_keep_their_order(self, bench: Bench) -> None:
        """One producer commits many transactions, and they stand in the order of the commits."""
        log = bench.log(0)
        await log.fence()
        for number in range(10):
            await log.commit([write(b"%d" % number), write(b"%d" % number, topic=STATES)])
        assert keys(await restored(log)) == [b"%d" % number for number in range(10)]
        await eventually(lambda: bench.visible(STATES, 0), [b"%d" % number for number in range(10)])

    async def test_write_elsewhere(self, bench: Bench) -> None:
        """A write that names a partition lands there, and the others in the shard's own."""
        log = bench.log(0)
        await log.fence()
        await log.commit([Write(topic=REQUESTS, key=b"r", value=b"{}", partition=1), write(b"a")])
        await eventually(lambda: bench.visible(REQUESTS, 1), [b"r"])
        assert keys(await restored(log)) == [b"a"]
        assert await bench.visible(REQUESTS, 0) == []

    async def test_broken_commit_is_all_or_nothing(self, bench: Bench) -> None:
        """A commit that is broken off at any moment is whole or absent once a successor has fenced."""
        for number in range(BREAKS):
            log = bench.log(0)
            await log.fence()
            name = b"%d" % number
            commit = asyncio.ensure_future(
                log.commit([write(name + b"a"), write(name, topic=STATES), write(name + b"b")])
            )
            await asyncio.wait([commit], timeout=number * 0.004)
            commit.cancel()
            await asyncio.wait([commit])
            successor = bench.log(0)
            await successor.fence()
            seen = keys(await restored(successor))
            assert seen[-2:] == [name + b"a", name + b"b"] or not any(
                key.startswith(name) for key in seen[-2:]
            )
            await eventually(
                lambda: bench.visible(STATES, 0),
                [key[:-1] for key in seen if key.endswith(b"a")],
            )
            await successor.close()
            await log.close()

    async def test_reader_never_sees_a_part(self, bench: Bench) -> None:
        """A reader that looks all the time sees whole transactions only."""
        log = bench.log(0)
        await log.fence()

        async def write_all() -> None:
            for number in range(10):
                await log.commit([write(b"%d" % number), write(b"%d" % number), write(b"%d" % number)])

        writing = asyncio.ensure_future(write_all())
        try:
            while not writing.done():
                seen = keys(await bench.visible(JOURNAL, 0))
                assert len(seen) % 3 == 0
                await asyncio.sleep(0)
        finally:
            await writing

    async def test_zombie_is_fenced(self, bench: Bench) -> None:
        """After a successor's fence the predecessor's commit raises Fenced and shows nothing."""
        zombie, successor = bench.log(0), bench.log(0)
        await zombie.fence()
        await zombie.commit([write(b"before")])
        await successor.fence()
        with pytest.raises(Fenced):
            await zombie.commit([write(b"late")])
        await successor.commit([write(b"after")])
        assert keys(await restored(successor)) == [b"before", b"after"]

    async def test_idle_zombie_is_fenced_too(self, bench: Bench) -> None:
        """A predecessor that never wrote anything is fenced like any other."""
        zombie, successor = bench.log(0), bench.log(0)
        await zombie.fence()
        await successor.fence()
        with pytest.raises(Fenced):
            await zombie.commit([write(b"late")])
        assert await restored(successor) == []

    async def test_fence_again(self, bench: Bench) -> None:
        """A log that was fenced can fence in its turn, and then writes again."""
        first, second = bench.log(0), bench.log(0)
        await first.fence()
        await second.fence()
        with pytest.raises(Fenced):
            await first.commit([write(b"late")])
        await first.fence()
        await first.commit([write(b"again")])
        assert keys(await restored(first)) == [b"again"]

    async def test_fence_in_the_midst_of_a_commit(self, bench: Bench) -> None:
        """A commit that a successor fences at any moment is whole or absent, and its owner hears no lie."""
        for number in range(BREAKS):
            zombie, successor = bench.log(0), bench.log(0)
            await zombie.fence()
            name = b"%d" % number
            commit = asyncio.ensure_future(
                zombie.commit([write(name + b"a"), write(name, topic=STATES), write(name + b"b")])
            )
            await asyncio.wait([commit], timeout=number * 0.002)
            await successor.fence()
            (raised,) = await asyncio.gather(commit, return_exceptions=True)
            seen = keys(await restored(successor))
            whole = seen[-2:] == [name + b"a", name + b"b"]
            assert whole or not any(key.startswith(name) for key in seen[-2:])
            assert whole or isinstance(raised, Fenced | LogInterrupted)
            assert not (whole and isinstance(raised, Fenced))
            await eventually(
                lambda: bench.visible(STATES, 0), [key[:-1] for key in seen if key.endswith(b"a")]
            )
            await successor.close()
            await zombie.close()

    async def test_two_fence_at_once(self, bench: Bench) -> None:
        """Of two logs that fence at the same time one can write, the other is fenced."""
        logs = [bench.log(0), bench.log(0)]
        fenced = await asyncio.gather(*(log.fence() for log in logs), return_exceptions=True)
        results = [
            await asyncio.gather(log.commit([write(b"%d" % number)]), return_exceptions=True)
            for number, (log, raised) in enumerate(zip(logs, fenced, strict=True))
            if raised is None
        ]
        assert [result for result in fenced if result is not None and not isinstance(result, LogError)] == []
        written = [result for (result,) in results if result is None]
        assert len(written) <= 1
        assert all(result is None or isinstance(result, Fenced) for (result,) in results)
        winner = bench.log(0)
        await winner.fence()
        assert len(await restored(winner)) == len(written)

    async def test_fences_are_per_partition(self, bench: Bench) -> None:
        """A fence of one partition leaves the producer of another one alone."""
        log, other = bench.log(0), bench.log(1)
        await log.fence()
        await other.fence()
        await log.commit([write(b"a")])
        assert keys(await restored(log)) == [b"a"]
        assert await restored(other) == []

    async def test_unchanged_producer_goes_on(self, bench: Bench) -> None:
        """A producer that nobody fenced commits again after its journal was read by others."""
        log = bench.log(0)
        await log.fence()
        await log.commit([write(b"a")])
        assert keys(await restored(bench.log(0))) == [b"a"]
        await log.commit([write(b"b")])
        assert keys(await restored(log)) == [b"a", b"b"]

    async def test_empty_journal(self, bench: Bench) -> None:
        """A journal that nobody wrote is read at once, without a record."""
        log = bench.log(0)
        await log.fence()
        assert await restored(log) == []

    async def test_long_journal(self, bench: Bench) -> None:
        """A journal of many batches is read whole and in order, to its end."""
        log = bench.log(0)
        await log.fence()
        expected = [b"%d" % number for number in range(600)]
        for start in range(0, 600, 100):
            await log.commit([write(key) for key in expected[start : start + 100]])
        assert keys(await restored(log)) == expected

    async def test_restore_stalls_behind_an_open_transaction(self, bench: Bench) -> None:
        """A foreign open transaction below the high watermark stalls the restore instead of shortening it."""
        log = bench.log(0)
        await log.fence()
        await log.commit([write(b"a")])
        async with bench.foreign(JOURNAL, 0):
            await log.commit([write(b"b")])
            with pytest.raises(RestoreStalled):
                await restored(log)
        await eventually(lambda: restored(log), [b"a", b"b"])

    async def test_reader_stops_at_an_open_transaction(self, bench: Bench) -> None:
        """What is committed behind a foreign open transaction is hidden until that one has its end."""
        log = bench.log(0)
        await log.fence()
        await log.commit([write(b"before", topic=STATES)])
        await eventually(lambda: bench.visible(STATES, 0), [b"before"])
        async with bench.foreign(STATES, 0):
            await log.commit([write(b"behind", topic=STATES)])
            assert keys(await bench.visible(STATES, 0)) == [b"before"]
        await eventually(lambda: bench.visible(STATES, 0), [b"before", b"behind"])

    async def test_markers_and_aborted_records_are_gaps(self, bench: Bench) -> None:
        """The end of a transaction takes an offset, and so does an aborted record: nobody sees either."""
        log, topic = bench.log(0), topic_name(REQUESTS)

        async def end() -> int:
            return (await log.bounds()).ends[Input.REQUESTS]

        await log.fence()
        # A marker is written some time after the commit's answer: each one is awaited before the next record.
        await log.commit([write(b"first", topic=REQUESTS)])
        await becomes(end, 2)
        async with bench.foreign(REQUESTS, 0):
            pass
        await becomes(end, 4)
        await log.commit([write(b"last", topic=REQUESTS)])
        await becomes(end, 6)
        found = [await log.fetch(topic=topic, partition=0, offset=offset) for offset in (0, 1, 3, 4, 5)]
        assert [record and record.key for record in found] == [b"first", None, None, b"last", None]

    async def test_fetch_behind_an_open_transaction(self, bench: Bench) -> None:
        """A record is read again at its origin although a foreign transaction stands open before it."""
        log, topic = bench.log(0), topic_name(REQUESTS)
        async with bench.foreign(REQUESTS, 0):
            offset = await bench.append(REQUESTS, 0, key=b"behind", value=b"{}")
            assert await bench.visible(REQUESTS, 0) == []
            record = await log.fetch(topic=topic, partition=0, offset=offset)
            assert record is not None
            assert record.key == b"behind"

    async def test_restore_passes_over_aborted_records(self, bench: Bench) -> None:
        """An aborted record in the journal is passed over by a restore, also where it is the last one."""
        log = bench.log(0)
        await log.fence()
        async with bench.foreign(JOURNAL, 0):
            pass
        await log.commit([write(b"a")])
        async with bench.foreign(JOURNAL, 0):
            pass
        await eventually(lambda: restored(log), [b"a"])

    async def test_refused_write(self, bench: Bench) -> None:
        """A refusing topic raises WriteRefused and shows nothing; after a fence the log works again."""
        log = bench.log(0)
        await log.fence()
        async with bench.refusing(LogicalTopic.DEAD_LETTERS):
            with pytest.raises(WriteRefused):
                await log.commit([write(b"a"), write(b"letter", topic=LogicalTopic.DEAD_LETTERS)])
            await log.fence()
            await log.commit([write(b"b")])
        assert keys(await restored(log)) == [b"b"]
        await log.commit([write(b"letter", topic=LogicalTopic.DEAD_LETTERS)])
        await eventually(lambda: bench.visible(LogicalTopic.DEAD_LETTERS, 0), [b"letter"])

    async def test_too_large(self, bench: Bench) -> None:
        """A record that does not fit is told beforehand, and refused if it is written all the same."""
        log = bench.log(0)
        await log.fence()
        large = write(b"large", b"x" * bench.oversized)
        assert log.fits(write(b"small"))
        assert not log.fits(large)
        with pytest.raises(WriteRefused):
            await log.commit([write(b"a"), large])
        await log.fence()
        await log.commit([write(b"b")])
        assert keys(await restored(log)) == [b"b"]

    async def test_bounds(self, bench: Bench) -> None:
        """The bounds are the first offset, the one after the last, and the group's commit."""
        log = bench.log(0)
        empty = await log.bounds()
        assert empty.starts == dict.fromkeys(Input, 0)
        assert empty.ends == dict.fromkeys(Input, 0)
        assert empty.group_committed is None
        for number in range(3):
            await bench.append(REQUESTS, 0, key=b"k", value=b"%d" % number)
        await bench.append(LogicalTopic.NOTICES, 0, key=None, value=b"{}")
        await bench.trim(REQUESTS, 0, start=2)
        await bench.commit_group(0, 1)
        bounds = await log.bounds()
        assert bounds.starts == {Input.REQUESTS: 2, Input.COMMANDS: 0, Input.NOTICES: 0}
        assert bounds.ends == {Input.REQUESTS: 3, Input.COMMANDS: 0, Input.NOTICES: 1}
        assert bounds.group_committed == 1

    async def test_fetch(self, bench: Bench) -> None:
        """A record is read again at its origin, byte for byte; one that is gone or never was is none."""
        log, topic = bench.log(0), topic_name(LogicalTopic.REQUESTS)
        gone = await bench.append(REQUESTS, 1, key=b"k", value=b"gone")
        there = await bench.append(
            REQUESTS, 1, key=b"\xff", value=b"\x00there", headers=(("h", b"\xff"), ("h", b""))
        )
        await bench.trim(REQUESTS, 1, start=there)
        record = await log.fetch(topic=topic, partition=1, offset=there)
        assert record is not None
        assert (record.partition, record.offset) == (1, there)
        assert (record.key, record.value) == (b"\xff", b"\x00there")
        assert record.headers == (("h", b"\xff"), ("h", b""))
        assert await log.fetch(topic=topic, partition=1, offset=gone) is None
        assert await log.fetch(topic=topic, partition=1, offset=there + 1) is None

    async def test_log_still_works_after_close_and_fence_of_another(self, bench: Bench) -> None:
        """A log that is closed leaves the partition to the next one, with all that it committed."""
        log = bench.log(0)
        await log.fence()
        await log.commit([write(b"a")])
        await log.close()
        successor = bench.log(0)
        await successor.fence()
        await successor.commit([write(b"b")])
        assert keys(await restored(successor)) == [b"a", b"b"]
