"""What the command line is run in: a cluster in memory, or a real Apache Kafka; both pass one suite."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from typer.testing import CliRunner

from contracts.origins import Origin
from contracts.topics import LogicalTopic, topic_partitions
from contracts.wire import rfc3339
from tests.kafka.bench import KafkaBench
from worker.kafka.topics import Remedy
from worker.oncall.cluster import Found, Span
from worker.oncall.command_line import app
from worker.oncall.errors import CommandError
from worker.oncall.kafka_cluster import open_cluster
from worker.oncall.outside import Outside
from worker.oncall.terminal import Terminal, console
from worker.settings import load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from typer.testing import Result

    from worker.kafka.topics import Finding
    from worker.oncall.cluster import Message
    from worker.ports import Headers
    from worker.settings import Settings

PARTITIONS = 3
NOW_AT = 1_740_800_000_000


class World(Protocol):
    """A place to run commands in, and to look at afterwards."""

    def run(self, *arguments: str, stdin: str = "") -> Result:
        """Run one command line."""
        ...

    def append(
        self,
        topic: LogicalTopic,
        partition: int,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Headers = (),
    ) -> None:
        """Append a record as somebody else would."""
        ...

    def records(self, topic: LogicalTopic) -> list[Found]:
        """Return all records of a topic."""
        ...


class FakeCluster:
    """`oncall.cluster.Cluster` in memory. `served` stands in for workers: it hears of each message."""

    def __init__(self, *, partitions: int = PARTITIONS) -> None:
        """Begin with empty topics."""
        self.count = partitions
        self.logs: dict[LogicalTopic, list[Found]] = {topic: [] for topic in LogicalTopic}
        self.missing: set[LogicalTopic] = set()
        self.findings: list[Finding] = []
        self.served: Callable[[Message], None] = lambda _message: None
        self.looked: Callable[[LogicalTopic, Span], None] = lambda _topic, _span: None
        self.begins: dict[tuple[LogicalTopic, int], int] = {}
        """Where logs begin whose head retention has deleted."""
        self.now_at = NOW_AT

    def append(
        self,
        topic: LogicalTopic,
        partition: int,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Headers = (),
    ) -> Origin:
        """Append a record and return its origin."""
        log = self.logs[topic]
        offset = sum(record.partition == partition for record in log)
        log.append(
            Found(
                partition=partition,
                offset=offset,
                timestamp_at=self.now_at,
                key=key,
                value=value,
                headers=headers,
            )
        )
        return Origin(topic.value, partition, offset)

    async def partitions(self, topic: LogicalTopic) -> int:
        """Return the number of partitions."""
        if topic in self.missing:
            raise CommandError(f"topic {topic.value} is missing: unbinding topics apply")
        return topic_partitions(topic, partitions=self.count)

    async def read(self, topic: LogicalTopic) -> AsyncIterator[Sequence[Found]]:
        """Give all records in batches of one, as a small fetch would."""
        await self.partitions(topic)
        for record in list(self.logs[topic]):
            yield [record]

    async def spans(
        self, topic: LogicalTopic, *, since: int | None = None, until: int | None = None
    ) -> list[Span]:
        """Return what there is of each partition."""
        return [
            Span(
                partition=partition,
                begin=self.begins.get((topic, partition), 0),
                start=max(self._first(topic, partition, since), self.begins.get((topic, partition), 0)),
                end=self._first(topic, partition, until, end=True),
            )
            for partition in range(await self.partitions(topic))
        ]

    def _first(self, topic: LogicalTopic, partition: int, at: int | None, *, end: bool = False) -> int:
        log = [record for record in self.logs[topic] if record.partition == partition]
        if at is None:
            return len(log) if end else 0
        return next((record.offset for record in log if record.timestamp_at >= at), len(log))

    async def read_span(self, topic: LogicalTopic, span: Span) -> AsyncIterator[Sequence[Found]]:
        """Give the records of a stretch in batches of one; `looked` hears of it first."""
        self.looked(topic, span)
        for record in list(self.logs[topic]):
            if record.partition == span.partition and span.start <= record.offset < span.end:
                yield [record]

    async def follow(self, topic: LogicalTopic, *, since: int | None) -> AsyncIterator[Sequence[Found]]:
        """Give records as they come."""
        await self.partitions(topic)
        log = self.logs[topic]
        position = len(log) if since is None else 0
        while True:
            batch, position = log[position:], len(log)
            yield [record for record in batch if record.timestamp_at >= (since or 0)]
            await asyncio.sleep(0)

    async def publish(self, messages: Sequence[Message]) -> list[Origin]:
        """Append in order."""
        placed = []
        for message in messages:
            await self.partitions(message.topic)
            placed.append(
                self.append(
                    message.topic,
                    message.partition or 0,
                    key=message.key,
                    value=message.value,
                    headers=message.headers,
                )
            )
            self.served(message)
        return placed

    async def check_topics(self) -> list[Finding]:
        """Return what the test found."""
        return list(self.findings)

    async def apply_topics(self, findings: Sequence[Finding]) -> list[Finding]:
        """Mend what is not for a person."""
        self.findings = [finding for finding in findings if finding.remedy is Remedy.BY_HAND]
        return list(self.findings)


@dataclass(slots=True)
class FakeWorld:
    """Commands on a `FakeCluster`; `answers` is what a person would type, `None` for no person."""

    cluster: FakeCluster = field(default_factory=FakeCluster)
    answers: list[str] | None = None
    environ: dict[str, str] = field(default_factory=dict)
    _elapsed: int = 0

    def run(self, *arguments: str, stdin: str = "") -> Result:
        """Run one command line; every look at the clock takes 50 ms."""
        outside = Outside(
            environ={
                "UNBINDING_TOPICS__PARTITIONS": str(PARTITIONS),
                "USER": "kim",
                **self.environ,
            },
            open_cluster=self._open,
            terminal=self._terminal,
            now=lambda: NOW_AT,
            elapsed=self._tick,
            read_stdin=stdin.encode,
        )
        return CliRunner().invoke(app, arguments, obj=outside)

    def append(
        self,
        topic: LogicalTopic,
        partition: int,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Headers = (),
    ) -> None:
        """Append a record as somebody else would."""
        self.cluster.append(topic, partition, key=key, value=value, headers=headers)

    def records(self, topic: LogicalTopic) -> list[Found]:
        """Return all records of a topic."""
        return list(self.cluster.logs[topic])

    @asynccontextmanager
    async def _open(self, settings: Settings) -> AsyncIterator[FakeCluster]:
        del settings
        yield self.cluster

    def _terminal(self) -> Terminal:
        return Terminal(
            out=console(sys.stdout),
            err=console(sys.stderr),
            ask=None if self.answers is None else self._answer,
        )

    def _answer(self, question: str) -> str:
        del question
        if not self.answers:
            raise EOFError
        return self.answers.pop(0)

    def _tick(self) -> int:
        self._elapsed += 50
        return self._elapsed


class KafkaWorld:
    """Commands on a real Apache Kafka, as a person would start them."""

    def __init__(self, bootstrap_servers: str, prefix: str) -> None:
        """Make all topics under the prefix, with the command line itself."""
        self._bootstrap_servers = bootstrap_servers
        self._prefix = prefix
        self.environ = {
            "UNBINDING_KAFKA__BOOTSTRAP_SERVERS": bootstrap_servers,
            "UNBINDING_TOPICS__PREFIX": prefix,
            "UNBINDING_TOPICS__PARTITIONS": str(PARTITIONS),
            "UNBINDING_TOPICS__REPLICATION": "1",
            "USER": "kim",
        }
        made = self.run("topics", "apply", "--yes")
        assert made.exit_code == 0, made.output

    def run(self, *arguments: str, stdin: str = "") -> Result:
        """Run one command line."""
        outside = Outside(environ=self.environ, read_stdin=stdin.encode)
        return CliRunner().invoke(app, arguments, obj=outside)

    def append(
        self,
        topic: LogicalTopic,
        partition: int,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Headers = (),
    ) -> None:
        """Append a record as somebody else would."""

        async def work() -> None:
            bench = KafkaBench(self._bootstrap_servers, self._prefix)
            await bench.append(topic, partition, key=key, value=value, headers=headers)

        asyncio.run(work())

    def records(self, topic: LogicalTopic) -> list[Found]:
        """Return all records of a topic."""

        async def work() -> list[Found]:
            async with open_cluster(load(environ=self.environ).settings) as cluster:
                return [record async for batch in cluster.read(topic) for record in batch]

        return asyncio.run(work())


def moment(seconds: int) -> str:
    """Return the moment that many seconds after `NOW_AT` as RFC 3339."""
    return rfc3339(NOW_AT + seconds * 1000)
