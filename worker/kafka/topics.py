"""Topics as they are against topics as they should be: a plan as data, and its application.

What is applied never takes anything away: topics are created, and configs of existing ones changed only where
that keeps more. Partition counts are never changed: the partition of a binding would be another one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from aiokafka import errors as kafka
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from contracts.topics import LogicalTopic, topic_configs, topic_partitions
from worker.kafka.connection import client_arguments
from worker.kafka.faults import fault_of
from worker.kafka.reachability import explained

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from worker.kafka.connection import Connection

_FOR_EVER: Final = -1
_TOPIC_OWN_SOURCE: Final = 1
"""Kafka's DYNAMIC_TOPIC_CONFIG: set for this topic, not inherited."""
_CREATE_TIMEOUT_MS: Final = 30_000
_MORE_IS_SAFE: Final = frozenset({"retention.ms"})
_TUNING: Final = frozenset({"segment.bytes", "max.compaction.lag.ms"})
_SAFE_REPLICATION: Final = 3


class Remedy(StrEnum):
    """What becomes of a finding."""

    CREATE = "create"
    """`apply` creates the topic."""
    CONFIGURE = "configure"
    """`apply` changes configs of the topic."""
    BY_HAND = "by_hand"
    """A person must decide: a change could lose data or order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicFacts:
    """One topic as it is on the cluster."""

    partitions: int
    replication: int
    configs: Mapping[str, str]
    """All that hold, inherited ones too."""
    own: Mapping[str, str] = field(default_factory=dict)
    """Those that were set for this topic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it should be."""

    topic: LogicalTopic
    name: str
    """The topic's name on the cluster."""
    what: str
    to_do: str
    remedy: Remedy
    serious: bool
    """Whether the worker must not run like this; otherwise it is a warning."""
    configs: Mapping[str, str] = field(default_factory=dict)
    """With `configure`: all configs that the topic has of its own afterwards."""


def plan(
    facts: Mapping[LogicalTopic, TopicFacts | None],
    *,
    names: Mapping[LogicalTopic, str],
    partitions: int,
    replication: int,
) -> list[Finding]:
    """Return what is wrong, by topic: nothing, if all is as it should be. Pure."""
    findings: list[Finding] = []
    for topic in LogicalTopic:
        found = facts.get(topic)
        if found is None:
            findings.append(_missing(topic, names[topic], partitions=partitions, replication=replication))
        else:
            expected = topic_partitions(topic, partitions=partitions)
            findings += _partitions(topic, names[topic], found, expected)
            findings += _replication(topic, names[topic], found, replication)
            findings += _configs(topic, names[topic], found)
    return findings


def _missing(topic: LogicalTopic, name: str, *, partitions: int, replication: int) -> Finding:
    count = topic_partitions(topic, partitions=partitions)
    return Finding(
        topic=topic,
        name=name,
        what=f"topic {name} is missing",
        to_do=f"create it with {count} partitions and replication {replication}",
        remedy=Remedy.CREATE,
        serious=True,
        configs=topic_configs(topic, replication=replication),
    )


def _partitions(topic: LogicalTopic, name: str, found: TopicFacts, expected: int) -> Iterable[Finding]:
    if found.partitions != expected:
        yield Finding(
            topic=topic,
            name=name,
            what=f"topic {name} has {found.partitions} partitions, not {expected}",
            to_do=(
                "set topics.partitions to what the topics have, or create all topics under another prefix; "
                "more partitions would send bindings to other shards"
            ),
            remedy=Remedy.BY_HAND,
            serious=True,
        )


def _replication(topic: LogicalTopic, name: str, found: TopicFacts, expected: int) -> Iterable[Finding]:
    wanted = min(expected, _SAFE_REPLICATION)
    if found.replication < wanted:
        yield Finding(
            topic=topic,
            name=name,
            what=f"topic {name} has {found.replication} replicas, not {expected}: one broker can lose it",
            to_do="reassign its partitions to more brokers (kafka-reassign-partitions.sh)",
            remedy=Remedy.BY_HAND,
            serious=False,
        )


def _configs(topic: LogicalTopic, name: str, found: TopicFacts) -> Iterable[Finding]:
    wanted = topic_configs(topic, replication=found.replication)
    lawful: dict[str, str] = {}
    for config, value in wanted.items():
        is_now = found.configs.get(config, "")
        if _satisfies(config, is_now, value):
            continue
        if _keeps_more(config, is_now, value):
            lawful[config] = value
        else:
            yield Finding(
                topic=topic,
                name=name,
                what=f"topic {name} has {config}={is_now}, not {value}",
                to_do=f"look why, then set {config}={value} (kafka-configs.sh): it could delete records",
                remedy=Remedy.BY_HAND,
                serious=config == "cleanup.policy",
            )
    if lawful:
        was = ", ".join(f"{config}={found.configs.get(config, '')}" for config in lawful)
        will = ", ".join(f"{config}={value}" for config, value in lawful.items())
        yield Finding(
            topic=topic,
            name=name,
            what=f"topic {name} has {was}",
            to_do=f"set {will}",
            remedy=Remedy.CONFIGURE,
            serious="cleanup.policy" in lawful,
            configs={**found.own, **lawful},
        )


def _satisfies(config: str, is_now: str, wanted: str) -> bool:
    if config in _MORE_IS_SAFE:
        return _kept_ms(is_now) >= _kept_ms(wanted)
    if config == "min.insync.replicas":
        return is_now.isdigit() and int(is_now) >= int(wanted)
    return is_now == wanted


def _keeps_more(config: str, is_now: str, wanted: str) -> bool:
    """Say whether the change can lose nothing: a policy that deletes by time or size less than before."""
    if config != "cleanup.policy":
        return True
    return "delete" in is_now and wanted == "compact" and "compact" in is_now


def _kept_ms(text: str) -> float:
    number = int(text) if text.lstrip("-").isdigit() else 0
    return float("inf") if number == _FOR_EVER else number


async def check(
    connection: Connection, *, names: Mapping[LogicalTopic, str], partitions: int, replication: int
) -> list[Finding]:
    """Compare the cluster's topics with what they should be. Raises LogError if it cannot be asked."""
    try:
        async with _Admin(connection) as admin:
            facts = await _facts(admin, names)
    except kafka.KafkaConnectionError as error:
        cause = await explained(error, connection)
        raise fault_of(cause, doing=f"check topics at {connection.bootstrap_servers}") from error
    except (kafka.KafkaError, OSError, TimeoutError) as error:
        raise fault_of(error, doing=f"check topics at {connection.bootstrap_servers}") from error
    return plan(facts, names=names, partitions=partitions, replication=replication)


async def apply(
    connection: Connection, findings: Sequence[Finding], *, partitions: int, replication: int
) -> list[Finding]:
    """Create what is missing and configure what may be configured; return what is left for a person.

    Raises LogError where the cluster refuses; what was done before stays done.
    """
    create = [finding for finding in findings if finding.remedy is Remedy.CREATE]
    configure = [finding for finding in findings if finding.remedy is Remedy.CONFIGURE]
    try:
        async with _Admin(connection) as admin:
            await _create(admin, create, partitions=partitions, replication=replication)
            for finding in configure:
                await _configure(admin, finding)
    except (kafka.KafkaError, OSError, TimeoutError) as error:
        raise fault_of(error, doing=f"apply topics at {connection.bootstrap_servers}") from error
    return [finding for finding in findings if finding.remedy is Remedy.BY_HAND]


class _Admin:
    """aiokafka's admin client as a context."""

    def __init__(self, connection: Connection) -> None:
        self._client = AIOKafkaAdminClient(**client_arguments(connection, role="topics"))

    async def __aenter__(self) -> AIOKafkaAdminClient:
        await self._client.start()
        return self._client

    async def __aexit__(self, *_error: object) -> None:
        await self._client.close()


async def _facts(
    admin: AIOKafkaAdminClient, names: Mapping[LogicalTopic, str]
) -> dict[LogicalTopic, TopicFacts | None]:
    present = set(await admin.list_topics()) & set(names.values())
    if not present:
        return dict.fromkeys(names)
    described = {topic["topic"]: topic for topic in await admin.describe_topics(sorted(present))}
    configs = await _described_configs(admin, sorted(present))
    return {
        topic: None if name not in present else _fact(described[name], configs[name])
        for topic, name in names.items()
    }


def _fact(described: Mapping[str, Any], configs: Mapping[str, tuple[str, int]]) -> TopicFacts:
    parts = described["partitions"]
    return TopicFacts(
        partitions=len(parts),
        replication=min((len(part["replicas"]) for part in parts), default=0),
        configs={name: value for name, (value, _) in configs.items()},
        own={name: value for name, (value, source) in configs.items() if source == _TOPIC_OWN_SOURCE},
    )


async def _described_configs(
    admin: AIOKafkaAdminClient, names: Sequence[str]
) -> dict[str, dict[str, tuple[str, int]]]:
    """Return each topic's configs as (value, source)."""
    found: dict[str, dict[str, tuple[str, int]]] = {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    answers: list[Any] = await admin.describe_configs(resources)
    for answer in answers:
        for code, _text, _kind, name, entries in answer.resources:
            _raise_for(code)
            found[name] = {entry[0]: (entry[1] or "", entry[3]) for entry in entries}
    return found


async def _create(
    admin: AIOKafkaAdminClient, findings: Sequence[Finding], *, partitions: int, replication: int
) -> None:
    if not findings:
        return
    answer: Any = await admin.create_topics(
        [
            NewTopic(
                name=finding.name,
                num_partitions=topic_partitions(finding.topic, partitions=partitions),
                replication_factor=replication,
                topic_configs=dict(finding.configs),
            )
            for finding in findings
        ],
        timeout_ms=_CREATE_TIMEOUT_MS,
    )
    for error in answer.topic_errors:
        _raise_for(error[1], ignore=kafka.TopicAlreadyExistsError)


async def _configure(admin: AIOKafkaAdminClient, finding: Finding) -> None:
    # The request replaces all configs of a topic's own: those that stand go along.
    resource = ConfigResource(ConfigResourceType.TOPIC, finding.name, configs=dict(finding.configs))
    answers: list[Any] = await admin.alter_configs([resource])
    for answer in answers:
        for error in answer.resources:
            _raise_for(error[0])


def _raise_for(code: int, *, ignore: type[kafka.KafkaError] | None = None) -> None:
    error = kafka.for_code(code)
    if code and error is not ignore:
        raise error
