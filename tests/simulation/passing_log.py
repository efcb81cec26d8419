"""A log between a shard and its log: it passes everything on, and is made to be changed in one way."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from worker.ports import JournalRecord, Log, Write


class PassingLog:
    """A log that passes everything on."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.partition = log.partition
        self.fence = log.fence
        self.bounds = log.bounds
        self.fits = log.fits
        self.fetch = log.fetch
        self.close = log.close

    def journal(self) -> AsyncIterator[Sequence[JournalRecord]]:
        """Read the journal."""
        return self.log.journal()

    async def commit(self, writes: Sequence[Write]) -> None:
        """Write all of it."""
        await self.log.commit(writes)
