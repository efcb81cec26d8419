"""What the commands ask of a Kafka cluster; tests hand over a cluster of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from contracts.origins import Origin
    from contracts.topics import LogicalTopic
    from worker.kafka.topics import Finding
    from worker.ports import Headers


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One record to publish; without a partition any will do."""

    topic: LogicalTopic
    key: bytes | None
    value: bytes
    headers: Headers
    partition: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One committed record; `value` is `None` for a tombstone, `timestamp_at` in ms since the epoch."""

    partition: int
    offset: int
    timestamp_at: int
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of one partition: offsets from `start` up to `end`, which is not in it."""

    partition: int
    begin: int
    """Where the log begins by now: older records are gone."""
    start: int
    end: int


class Cluster(Protocol):
    """Reads without a group, and publishes without a transaction. Raises `ports.LogError`, `CommandError`."""

    async def partitions(self, topic: LogicalTopic) -> int:
        """Return how many partitions a topic has. Raises `CommandError` if it is missing."""
        ...

    def read(self, topic: LogicalTopic) -> AsyncIterator[Sequence[Found]]:
        """Give all committed records up to the end as of now, in order within each partition."""
        ...

    async def spans(
        self, topic: LogicalTopic, *, since: int | None = None, until: int | None = None
    ) -> list[Span]:
        """Return what there is of each partition as of now, or of that time (ms since the epoch).

        The end is the high watermark: what is written there may still belong to an open transaction.
        """
        ...

    def read_span(self, topic: LogicalTopic, span: Span) -> AsyncIterator[Sequence[Found]]:
        """Give the committed records of a stretch, in order; empty lists say that it waits."""
        ...

    def follow(self, topic: LogicalTopic, *, since: int | None) -> AsyncIterator[Sequence[Found]]:
        """Give committed records as they come, for ever; an empty list says that nothing is new just now.

        `since`: those written at that moment (ms since the epoch) or later; `None`: those that come after
        the first list was given.
        """
        ...

    async def publish(self, messages: Sequence[Message]) -> list[Origin]:
        """Publish in order; return where each lies when all are acknowledged."""
        ...

    async def check_topics(self) -> list[Finding]:
        """Return what is not as the settings want it."""
        ...

    async def apply_topics(self, findings: Sequence[Finding]) -> list[Finding]:
        """Create and configure; return what is left for a person."""
        ...
