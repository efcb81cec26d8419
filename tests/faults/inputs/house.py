"""A small house: topics of two partitions, a payment side, and a worker, all but Kafka in this process."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.admin.records_to_delete import RecordsToDelete

from contracts.topics import LogicalTopic, topic_configs, topic_name
from tests.brokers.topics import create_topics
from tests.faults.archive import Archive
from tests.faults.inputs.acls import PASSWORD, USER
from tests.faults.inputs.batches import RawProducer, encode
from tests.faults.inputs.drafts import Drafting
from tests.faults.payment_side import client_of, counterparts_toml
from tests.faults.stage import now_ms, until
from worker.kafka.connection import Connection
from worker.kafka.topics import apply, check
from worker.sandbox.payment import Sandbox, SandboxConfig, sandbox
from worker.sealing import Purpose
from worker.sealing.key_files import new_key_file, write_key_file
from worker.settings import load
from worker.verify import checker
from worker.verify.reader import read_history
from worker.wiring import StartOptions, Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from pathlib import Path

    from tests.faults.inputs.drafts import Draft
    from worker.verify.checker import Violation

PARTITIONS: Final = 2
SESSION_MS: Final = 6_000
CALL_MS: Final = 5_000
_LIVES: Final = 9
_REST_S: Final = 120.0


class Diary:
    """An observer that keeps what it hears."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, object]]] = []

    def log(self, event: str, **fields: object) -> None:
        """Keep a log line."""
        self.lines.append((event, fields))

    def count(self, metric: str, n: int = 1, **labels: str) -> None:
        """Ignore a count."""

    def observe(self, metric: str, value: float, **labels: str) -> None:
        """Ignore a value."""

    def gauge(self, metric: str, value: float, **labels: str) -> None:
        """Ignore a value."""

    def causes(self, event: str) -> list[str]:
        """Return why an event came about, each time."""
        return [str(fields.get("cause")) for name, fields in self.lines if name == event]

    def count_of(self, event: str) -> int:
        """Return how often an event was logged."""
        return sum(name == event for name, _ in self.lines)


@dataclass(slots=True)
class Hired:
    """A worker that runs."""

    worker: Worker
    task: asyncio.Task[None]
    diary: Diary
    opened: Callable[[], int] = field(init=False)

    def __post_init__(self) -> None:
        self.opened = lambda: self.diary.count_of("shard.opened")

    def troubles(self) -> str:
        """Return what health says is wrong, in one piece; empty if nothing is."""
        return "\n".join(self.worker.troubles())

    def finished(self, draft: Draft) -> list[str]:
        """Return how the sagas of a request's binding have ended, by the log."""
        return [
            str(fields["state"])
            for event, fields in self.diary.lines
            if event == "saga.finished" and fields["binding_id"] == draft.binding_id
        ]

    async def served(self, draft: Draft, *, within_s: float = 60) -> None:
        """Wait until a request is unbound, by the log: the topics may not be readable now."""
        await until(
            lambda: self.finished(draft) == ["unbound"],
            within_s=within_s,
            what=f"{draft.binding_id} is unbound",
        )

    async def settled(self, *, within_s: float = 60) -> None:
        """Wait until nothing is wrong and each shard has been opened."""
        await self._until(
            lambda: self.opened() >= PARTITIONS and not self.troubles(),
            within_s=within_s,
            what="the worker is ready",
        )

    async def says(self, *words: str, within_s: float = 60) -> str:
        """Wait until health says all these words, and return all it says."""
        await self._until(
            lambda: all(word in self.troubles() for word in words),
            within_s=within_s,
            what=f"health says {words}",
        )
        return self.troubles()

    async def _until(self, condition: Callable[[], bool], *, within_s: float, what: str) -> None:
        """Wait for a condition; if it does not come true, tell what health and log say instead."""
        try:
            await until(lambda: self.task.done() or condition(), within_s=within_s, what=what)
        except TimeoutError as error:
            raise TimeoutError(
                f"{error}; it says {self.troubles()!r}; last {self.diary.lines[-8:]}"
            ) from error
        assert not self.task.done(), "the worker has ended by itself"


@dataclass(slots=True, kw_only=True)
class House:
    """Everything of one test; made by `open_house`."""

    directory: Path
    connection: Connection
    users_servers: str
    """The listener where one logs in; empty without one."""
    prefix: str
    box: Sandbox
    archive: Archive
    producer: RawProducer
    drafting: Drafting
    asked: list[Draft] = field(default_factory=list)
    _lives: int = 0

    @property
    def application(self) -> str:
        """The worker's group, and the beginning of its transactional ids."""
        return f"{self.prefix}app"

    def name(self, topic: LogicalTopic) -> str:
        """Return a topic's name."""
        return topic_name(topic, prefix=self.prefix)

    # --- requests ---------------------------------------------------------------------

    async def ask(self, partition: int = 0, *, word: str = "allow") -> Draft:
        """Send a request; `word` says how its token behaves."""
        draft = self.drafting.draft(partition, word=word)
        self.asked.append(draft)
        await self.send(draft)
        return draft

    async def send(self, draft: Draft, *, partition: int | None = None) -> int:
        """Send a request as it is drafted, and return its offset."""
        partition = draft.partition if partition is None else partition
        tp = TopicPartition(self.name(LogicalTopic.REQUESTS), partition)
        return await self.producer.send(tp, encode([draft.record()]))

    # --- workers ----------------------------------------------------------------------

    @asynccontextmanager
    async def worker(
        self, *, logged_in: bool = False, accept_loss: Iterable[int] = (), **settings: str
    ) -> AsyncIterator[Hired]:
        """Run a worker, as a user if it is to log in; drain it at the end."""
        self._lives += 1
        name = f"a-{self._lives}"
        config = self.directory / f"{name}.toml"
        toml = counterparts_toml(
            self.box.config.directory,
            base_url=self.box.base_url,
            worker=name,
            call_ms=CALL_MS,
            in_flight=64,
        )
        config.write_text(toml, encoding="utf-8")
        environ = self._environ(logged_in=logged_in) | settings
        diary = Diary()
        options = StartOptions(accept_loss=frozenset(accept_loss))
        loaded = load(environ=environ, config=config).settings
        async with Worker.open(loaded, observer=diary, options=options) as worker:
            task = asyncio.create_task(worker.run())
            try:
                yield Hired(worker, task, diary)
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    def _environ(self, *, logged_in: bool) -> dict[str, str]:
        waits = '["300ms", "600ms", "1s", "2s"]'
        environ = {
            "APPLICATION": self.application,
            "KAFKA__BOOTSTRAP_SERVERS": self.connection.bootstrap_servers,
            "KAFKA__SESSION_TIMEOUT": f"{SESSION_MS}ms",
            "KAFKA__REBALANCE_TIMEOUT": "20s",
            "KAFKA__DRAIN_TIMEOUT": "8s",
            "KAFKA__RESTORE_TIMEOUT": "5s",
            "KAFKA__TRANSACTION_TIMEOUT": "5s",
            "KAFKA__REQUEST_TIMEOUT": "5s",
            "TOPICS__PREFIX": self.prefix,
            "TOPICS__PARTITIONS": str(PARTITIONS),
            "TOPICS__REPLICATION": "1",
            "PATIENCE__CONSULT__WAITS": waits,
            "PATIENCE__CONSULT__GIVE_UP_AFTER": "60s",
            "PATIENCE__CANCEL_TOKEN__WAITS": waits,
            "PATIENCE__CANCEL_TOKEN__GIVE_UP_AFTER": "60s",
            "SEALING__KEYS_FILE": str(self.directory / "sealing.toml"),
            "SEALING__FINGERPRINT_KEYS_FILE": str(self.directory / "prints.toml"),
        }
        if logged_in:
            environ |= {
                "KAFKA__BOOTSTRAP_SERVERS": self.users_servers,
                "KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT",
                "KAFKA__SASL_MECHANISM": "PLAIN",
                "KAFKA__SASL_USERNAME": USER,
                "KAFKA__SASL_PASSWORD": PASSWORD,
            }
        return {f"UNBINDING_{name}": value for name, value in environ.items()}

    # --- topics -----------------------------------------------------------------------

    async def configure(self, topic: LogicalTopic, **configs: str) -> None:
        """Give a topic these configs, on top of those that it should have."""
        every = topic_configs(topic, replication=1) | {
            name.replace("_", "."): value for name, value in configs.items()
        }
        async with _admin(self.connection) as admin:
            await admin.alter_configs(
                [ConfigResource(ConfigResourceType.TOPIC, self.name(topic), configs=every)]
            )

    async def delete(self, topic: LogicalTopic) -> None:
        """Delete a topic."""
        async with _admin(self.connection) as admin:
            await admin.delete_topics([self.name(topic)])

    async def make(self) -> None:
        """Make the topics that are missing, as `unbinding topics apply` does."""
        names = {topic: self.name(topic) for topic in LogicalTopic}
        findings = await check(self.connection, names=names, partitions=PARTITIONS, replication=1)
        await apply(self.connection, findings, partitions=PARTITIONS, replication=1)

    async def create(self, topic: LogicalTopic, *, partitions: int) -> None:
        """Make a topic with this many partitions."""
        await create_topics(self.connection.bootstrap_servers, {self.name(topic): partitions})

    async def trim(self, topic: LogicalTopic, partition: int, *, start: int) -> None:
        """Delete the records before an offset, as retention does."""
        tp = TopicPartition(self.name(topic), partition)
        async with _admin(self.connection) as admin:
            await admin.delete_records({tp: RecordsToDelete(before_offset=start)})

    async def read_anew(self) -> None:
        """Begin to read from the topics' beginnings: one of them was made anew."""
        await self.archive.close()
        self.archive = Archive(self.connection, prefix=self.prefix, partitions=PARTITIONS)

    # --- what came of it ----------------------------------------------------------------

    def violations(self, *, at_rest: bool = True) -> list[Violation]:
        """Judge what has been read so far."""
        secrets = [token.encode() for token in self.drafting.tokens]
        return checker.check(
            read_history(self.archive, partitions=PARTITIONS, secrets=secrets, at_rest=at_rest)
        )

    async def rest(self, *, within_s: float = _REST_S) -> None:
        """Wait until everything has come to its end and no promise is broken."""

        async def rests() -> bool:
            await self.archive.catch_up()
            return not self.violations()

        try:
            await until(rests, within_s=within_s, what="everything has come to its end", look_s=0.25)
        except TimeoutError as error:
            raise TimeoutError("\n".join([str(error), *map(str, self.violations()[:4])])) from error

    async def ends(self, draft: Draft) -> list[str]:
        """Return the last state of each saga of a request's binding, as far as it is published."""
        return [states[-1] for states in await self.courses(draft)]

    async def courses(self, draft: Draft) -> list[list[str]]:
        """Return the states of each saga of a request's binding, as far as they are published."""
        return list((await self.sagas(draft)).values())

    async def sagas(self, draft: Draft) -> dict[str, list[str]]:
        """Return the states of each saga of a request's binding by the saga's id, as far as published."""
        await self.archive.catch_up()
        history = read_history(self.archive, partitions=PARTITIONS, at_rest=False, with_bytes=False)
        found: dict[str, list[str]] = {}
        for event in history.states:
            if event.binding_id == draft.binding_id:
                found.setdefault(event.saga_id, []).append(event.state)
        return found

    async def ended(self, draft: Draft, *states: str, within_s: float = 60) -> None:
        """Wait until the sagas of a request's binding stand at these states."""

        async def there() -> bool:
            return await self.ends(draft) == list(states)

        await until(there, within_s=within_s, what=f"{draft.binding_id} is {states}", look_s=0.1)


@asynccontextmanager
async def open_house(
    directory: Path,
    *,
    bootstrap_servers: str,
    prefix: str,
    users_servers: str = "",
    without: tuple[LogicalTopic, ...] = (),
) -> AsyncIterator[House]:
    """Make topics and keys, start the payment side; let everything go at the end."""
    connection = Connection(bootstrap_servers=bootstrap_servers)
    for name, purpose in (("sealing", Purpose.SEALING), ("prints", Purpose.FINGERPRINTS)):
        keys = directory / f"{name}.toml"
        keys.touch(mode=0o600)
        keys.write_text(write_key_file(new_key_file(purpose=purpose, key_id=f"{name}-1")), encoding="utf-8")
    config = SandboxConfig(
        directory=directory / "payment",
        clients=tuple(client_of(f"a-{life}") for life in range(1, _LIVES + 1)),
    )
    archive = Archive(connection, prefix=prefix, partitions=PARTITIONS)
    async with sandbox(config) as box, RawProducer(bootstrap_servers) as producer:
        house = House(
            directory=directory,
            connection=connection,
            users_servers=users_servers,
            prefix=prefix,
            box=box,
            archive=archive,
            producer=producer,
            drafting=Drafting(
                topic=topic_name(LogicalTopic.REQUESTS, prefix=prefix), partitions=PARTITIONS, at=now_ms()
            ),
        )
        await house.make()
        for topic in without:
            await house.delete(topic)
        try:
            yield house
        finally:
            await house.archive.close()


@asynccontextmanager
async def _admin(connection: Connection) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=connection.bootstrap_servers)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()
