"""One suite for every `ports.Log`: the simulated one and the one on Kafka must do the same.

A room runs it with a class of its own that inherits the tests and says how to make a bench:

    class TestThatLog(LogConformance):
        @pytest.fixture
        async def bench(self) -> AsyncIterator[Bench]:
            ...
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager

    from contracts.topics import LogicalTopic
    from worker.ports import Headers, JournalRecord, Log

pytest.register_assert_rewrite("tests.log_suite.conformance")


class Bench(Protocol):
    """A log system with all topics, in which partitions 0 and 1 exist and are empty."""

    oversized: int
    """A number of bytes that no record of this system may have."""

    def log(self, partition: int) -> Log:
        """Return a new log of the partition, as another process would make it.

        Its restore stalls after a second or two.
        """
        ...

    async def append(
        self,
        topic: LogicalTopic,
        partition: int,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Headers = (),
    ) -> int:
        """Append a record without a transaction and return its offset."""
        ...

    async def visible(self, topic: LogicalTopic, partition: int) -> Sequence[JournalRecord]:
        """Return what a read_committed reader sees from the start, without waiting for open transactions."""
        ...

    def foreign(self, topic: LogicalTopic, partition: int) -> AbstractAsyncContextManager[None]:
        """Keep another producer's transaction open in the partition, with one record; then abort it."""
        ...

    def refusing(self, topic: LogicalTopic) -> AbstractAsyncContextManager[None]:
        """Let the topic refuse each write, for good as far as a producer can tell."""
        ...

    async def trim(self, topic: LogicalTopic, partition: int, *, start: int) -> None:
        """Delete all records before `start`, as retention does."""
        ...

    async def commit_group(self, partition: int, offset: int) -> None:
        """Commit the group's offset of the requests partition."""
        ...
