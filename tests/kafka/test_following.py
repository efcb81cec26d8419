"""Following a topic while its brokers have troubles that pass: pure, with a reader made up for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
from aiokafka import errors as kafka
from aiokafka.record.default_records import _DefaultRecordPy

from worker.kafka.following import Start, Stop, follow, read_on
from worker.kafka.reader import EARLIEST, Fetched, Reader
from worker.ports import LogInterrupted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping

    from aiokafka.structs import TopicPartition

    from worker.kafka.following import Seen

pytestmark = pytest.mark.promise("P1")

PASSING = [
    kafka.NotLeaderForPartitionError(),
    kafka.LeaderNotAvailableError(),
    kafka.RequestTimedOutError(),
    kafka.UnknownTopicOrPartitionError(),
    TimeoutError(),
    OSError("the connection is reset"),
]
LASTING = [
    kafka.TopicAuthorizationFailedError(),
    kafka.OffsetOutOfRangeError(),
]


class Brokers:
    """One partition with a record at each offset, and what goes wrong at each fetch, in order."""

    def __init__(self, *faults: Exception | None, first: int = 0, end: int = 3) -> None:
        self.faults = list(faults)
        self.first, self.end = first, end
        self.clock = 0.0

    @property
    def reader(self) -> Reader:
        """As a reader."""
        return cast("Reader", self)

    def now(self) -> float:
        """Return a time that no test has to wait for."""
        return self.clock

    async def partition_count(self, _topic: str) -> int:
        """Return the number of partitions."""
        return 1

    async def offsets(self, partitions: Collection[TopicPartition], *, at: int) -> dict[TopicPartition, int]:
        """Return the bounds of the log."""
        return dict.fromkeys(partitions, self.first if at == EARLIEST else self.end)

    async def fetch_all(
        self, positions: Mapping[TopicPartition, int], **_options: object
    ) -> dict[TopicPartition, Fetched]:
        """Give the next record, or what goes wrong; ten seconds pass."""
        self.clock += 10
        fault = self.faults.pop(0) if self.faults else None
        return {
            tp: Fetched(records=[], position=at, error=fault)
            if fault is not None
            else Fetched(records=[_DefaultRecordPy(at, 1, 0, b"k", b"v", [])], position=at + 1)
            for tp, at in positions.items()
        }


async def offsets_in(batches: AsyncIterator[list[Seen]]) -> list[int | None]:
    """Return the offsets that were read, and a `None` for each empty list."""
    found: list[int | None] = []
    async for batch in batches:
        found += [seen.offset for seen in batch] or [None]
    return found


def to_the_end(brokers: Brokers) -> AsyncIterator[list[Seen]]:
    """Follow from the beginning to the end."""
    return follow(brokers.reader, "t", start=Start.BEGINNING, stop=Stop.AT_END, now=brokers.now)


def span_of(brokers: Brokers) -> AsyncIterator[list[Seen]]:
    """Read the stretch from the first record to the end."""
    return read_on(brokers.reader, "t", 0, start=0, end=brokers.end, now=brokers.now)


BOTH = pytest.mark.parametrize("read", [to_the_end, span_of])


@BOTH
@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: type(fault).__name__)
async def test_an_error_that_passes(
    fault: Exception, read: Callable[[Brokers], AsyncIterator[list[Seen]]]
) -> None:
    """An error that passes loses no record and ends no reading: nothing is new for the moment."""
    assert await offsets_in(read(Brokers(None, fault, fault))) == [0, None, None, 1, 2]


@BOTH
@pytest.mark.parametrize("fault", LASTING, ids=lambda fault: type(fault).__name__)
async def test_an_error_that_stays(
    fault: Exception, read: Callable[[Brokers], AsyncIterator[list[Seen]]]
) -> None:
    """An error that no asking again can mend ends the reading at once."""
    brokers = Brokers(None, fault)
    with pytest.raises(LogInterrupted, match=type(fault).__name__):
        await offsets_in(read(brokers))
    assert brokers.clock == 20


@BOTH
async def test_errors_without_end(read: Callable[[Brokers], AsyncIterator[list[Seen]]]) -> None:
    """Errors that should pass and do not end the reading, with the words of the last of them."""
    brokers = Brokers(*[kafka.LeaderNotAvailableError()] * 14, kafka.NotLeaderForPartitionError(), end=99)
    with pytest.raises(LogInterrupted, match="LeaderNotAvailable"):
        await offsets_in(read(brokers))
    assert 30 <= brokers.clock <= 130


async def test_a_success_between_errors() -> None:
    """Patience begins anew with each success: only a partition that never answers is given up."""
    fault = kafka.NotLeaderForPartitionError()
    found = await offsets_in(to_the_end(Brokers(fault, fault, fault, None, fault, fault, fault)))
    assert [offset for offset in found if offset is not None] == [0, 1, 2]


async def test_a_stretch_whose_head_is_gone() -> None:
    """Where the log begins beyond the wanted offset, the stretch is not read as if it were whole."""
    with pytest.raises(LogInterrupted, match="offsets 0 to 1 are not in the log any more"):
        await offsets_in(span_of(Brokers(first=2)))
