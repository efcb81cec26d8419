"""A shard that keeps what it is fed: what the pump's tests look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.ports import Input

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from worker.ports import Feed, Lease, Log, Record


class FakeShard:
    """Opens at a given position without a journal, and notes each record together with its own state."""

    def __init__(
        self, partition: int, log: Log, feed: Feed, lease: Lease, *, start_at: Callable[[int], int]
    ) -> None:
        """Take `start_at`: the requests position to open at, by partition."""
        self.partition = partition
        self.log = log
        self.feed = feed
        self.lease = lease
        self.start_at = start_at
        self.state = "closed"
        self.taken: list[Record] = []
        self.astray: list[Record] = []
        self.starts = 0
        self.drains = 0
        self.position: int | None = None
        self.auto_open = True
        self.drain_gate: asyncio.Event | None = None

    def start(self) -> None:
        """Open at once."""
        self.starts += 1
        self.state = "claiming"
        if self.auto_open:
            self.open()

    def open(self) -> None:
        """Seek and serve."""
        self.state = "open"
        self.position = self.start_at(self.partition)
        self.feed.seek({Input.REQUESTS: self.position, Input.COMMANDS: 0, Input.NOTICES: 0})

    def offer(self, records: Sequence[Record]) -> None:
        """Keep the records."""
        (self.taken if self.state == "open" else self.astray).extend(records)
        for record in records:
            if record.input is Input.REQUESTS:
                self.position = record.offset + 1

    async def drain(self) -> None:
        """Close; wait for the test if it wants that."""
        self.drains += 1
        self.state = "draining"
        if self.drain_gate is not None:
            await self.drain_gate.wait()
        self.state = "closed"

    async def close(self) -> None:
        """Forget nothing: tests look at it."""
        self.state = "dropped"

    def values(self, source: Input = Input.REQUESTS) -> list[bytes | None]:
        """Return what came from one input."""
        return [record.value for record in self.taken if record.input is source]
