"""Topics: the plan as a table, and check and apply on Apache Kafka."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from contracts.topics import LogicalTopic, topic_configs, topic_name, topic_partitions
from tests.brokers.topics import create_topics
from tests.kafka.bench import until
from worker.kafka.connection import Connection
from worker.kafka.topics import Remedy, TopicFacts, apply, check, plan

if TYPE_CHECKING:
    from tests.brokers.fixtures import Broker

NAMES = {topic: topic_name(topic) for topic in LogicalTopic}
JOURNAL = LogicalTopic.JOURNAL
RIGHT = {
    topic: TopicFacts(
        partitions=topic_partitions(topic), replication=3, configs=topic_configs(topic), own={"x": "1"}
    )
    for topic in LogicalTopic
}


def test_nothing_to_do() -> None:
    """Topics as they should be give an empty plan."""
    assert plan(RIGHT, names=NAMES, partitions=12, replication=3) == []


def test_missing_topic_is_created() -> None:
    """A missing topic is to be created, and the worker must not run without it."""
    (finding,) = plan({**RIGHT, JOURNAL: None}, names=NAMES, partitions=12, replication=3)
    assert (finding.topic, finding.remedy, finding.serious) == (JOURNAL, Remedy.CREATE, True)


@pytest.mark.parametrize("count", [11, 13])
def test_partition_count_is_never_changed(count: int) -> None:
    """A wrong partition count is for a person, whichever way it is wrong."""
    facts = {**RIGHT, JOURNAL: replace(RIGHT[JOURNAL], partitions=count)}
    (finding,) = plan(facts, names=NAMES, partitions=12, replication=3)
    assert (finding.remedy, finding.serious) == (Remedy.BY_HAND, True)


@pytest.mark.parametrize(
    ("topic", "config", "value", "remedy"),
    [
        (JOURNAL, "cleanup.policy", "compact,delete", Remedy.CONFIGURE),
        (JOURNAL, "cleanup.policy", "delete", Remedy.BY_HAND),
        (LogicalTopic.STATES, "cleanup.policy", "compact", Remedy.BY_HAND),
        (LogicalTopic.REQUESTS, "retention.ms", "1000", Remedy.CONFIGURE),
        (JOURNAL, "unclean.leader.election.enable", "true", Remedy.CONFIGURE),
        (JOURNAL, "min.insync.replicas", "1", Remedy.CONFIGURE),
        (JOURNAL, "max.compaction.lag.ms", "9", Remedy.CONFIGURE),
    ],
)
def test_wrong_config(topic: LogicalTopic, config: str, value: str, remedy: Remedy) -> None:
    """A wrong config is changed only where the change can lose nothing, and what else is set stays set."""
    wrong = replace(RIGHT[topic], configs={**RIGHT[topic].configs, config: value})
    (finding,) = plan({**RIGHT, topic: wrong}, names=NAMES, partitions=12, replication=3)
    assert finding.remedy is remedy
    if remedy is Remedy.CONFIGURE:
        assert finding.configs == {"x": "1", config: topic_configs(topic)[config]}


@pytest.mark.parametrize("value", ["-1", "99999999999999"])
def test_longer_retention_is_right(value: str) -> None:
    """Records that are kept longer than needed are no finding."""
    topic = LogicalTopic.REQUESTS
    longer = replace(RIGHT[topic], configs={**RIGHT[topic].configs, "retention.ms": value})
    assert plan({**RIGHT, topic: longer}, names=NAMES, partitions=12, replication=3) == []


def test_few_replicas_are_a_warning() -> None:
    """Too few replicas are a warning for a person."""
    few = replace(RIGHT[JOURNAL], replication=1, configs=topic_configs(JOURNAL, replication=1))
    (finding,) = plan({**RIGHT, JOURNAL: few}, names=NAMES, partitions=12, replication=3)
    assert (finding.remedy, finding.serious) == (Remedy.BY_HAND, False)


@pytest.mark.broker
async def test_apply_makes_check_content(broker: Broker, prefix: str) -> None:
    """On a cluster, apply creates and configures all but what is left to a person, and check says so."""
    connection = Connection(bootstrap_servers=broker.bootstrap_servers)
    names = {topic: topic_name(topic, prefix=prefix) for topic in LogicalTopic}
    await create_topics(
        broker.bootstrap_servers,
        {names[JOURNAL]: 3},
        configs={"cleanup.policy": "compact,delete", "max.message.bytes": "2000000"},
    )
    await create_topics(broker.bootstrap_servers, {names[LogicalTopic.VERDICTS]: 2})
    findings = await check(connection, names=names, partitions=3, replication=1)
    left = await apply(connection, findings, partitions=3, replication=1)
    assert [(finding.topic, finding.remedy) for finding in left] == [(LogicalTopic.VERDICTS, Remedy.BY_HAND)]

    async def content() -> bool:
        again = await check(connection, names=names, partitions=3, replication=1)
        return [finding.what for finding in again] == [finding.what for finding in left]

    await until(content)
