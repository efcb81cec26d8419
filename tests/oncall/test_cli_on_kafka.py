"""The command line on a real Apache Kafka: the common suite, and what only a broker can show."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from contracts.cloudevents import read_event
from contracts.commands import CommandKind, Ruling
from contracts.states import State
from contracts.topics import LogicalTopic
from tests.oncall.cli_suite import CliSuite
from tests.oncall.examples import (
    SAGA,
    letter_headers,
    put_letter,
    state_record,
    verdict_record,
)
from tests.oncall.worlds import NOW_AT, KafkaWorld
from worker.oncall.cluster import Message
from worker.oncall.kafka_cluster import open_cluster
from worker.oncall.letters import read_letters
from worker.oncall.orders import Wish, carry_out, make_orders
from worker.settings import load

if TYPE_CHECKING:
    from tests.brokers.fixtures import Broker
    from worker.oncall.kafka_cluster import KafkaCluster
    from worker.oncall.orders import Course

pytestmark = pytest.mark.broker


@pytest.fixture
def world(broker: Broker, prefix: str) -> KafkaWorld:
    """Give topics of the test's own."""
    return KafkaWorld(broker.bootstrap_servers, prefix)


class TestOnKafka(CliSuite):
    """The common suite."""


def test_topics_applied_are_as_they_should_be(world: KafkaWorld) -> None:
    """What was applied passes the check, and applying again changes nothing."""
    assert world.run("topics", "check").exit_code == 0
    again = world.run("topics", "apply")
    assert again.exit_code == 0
    assert "nothing to apply" in again.stderr


def test_a_missing_topic_says_what_to_do(broker: Broker, world: KafkaWorld) -> None:
    """Under another prefix there are no topics: each command says so at once, and how to make them."""
    world.environ["UNBINDING_TOPICS__PREFIX"] = "nowhere."
    for arguments in (("letters", "list"), ("watch", "--until-idle", "100ms")):
        result = world.run(*arguments)
        assert result.exit_code == 1
        assert f"is missing at {broker.bootstrap_servers}" in result.stderr
        assert "unbinding topics apply" in result.stderr


def test_a_replay_is_followed_on_kafka(world: KafkaWorld) -> None:
    """With somebody who answers as a worker does, verdict and states of a replay are seen."""
    put_letter(world, letter_headers(), partition=2)
    course = asyncio.run(_replayed(world))
    assert course.verdict is not None
    assert course.verdict.ruling is Ruling.APPLIED
    assert [event.state for event in course.states] == [State.RESUMED, State.UNBOUND]
    assert course.complete


async def _replayed(world: KafkaWorld) -> Course:
    async with open_cluster(load(environ=world.environ).settings) as cluster:
        answering = asyncio.create_task(_answer(cluster))
        (letter,) = await read_letters(cluster)
        wish = Wish(kind=CommandKind.REPLAY, by="kim", why="outage over")
        orders = make_orders([letter], wish, now_at=NOW_AT, plan_id="plan-1")
        clock = asyncio.get_running_loop()
        (course,) = await carry_out(
            cluster,
            orders,
            timeout_ms=20_000,
            elapsed=lambda: int(clock.time() * 1000),
            told=lambda _course, _news: None,
        )
        await answering
        return course


async def _answer(cluster: KafkaCluster) -> None:
    """Wait for a command, then write what a worker would."""
    async for batch in cluster.follow(LogicalTopic.COMMANDS, since=0):
        if not batch:
            continue
        (record,) = batch
        assert record.partition == 2
        event = read_event(record.value, record.headers)
        value, headers = verdict_record(event.id)
        messages = [_message(LogicalTopic.VERDICTS, value, headers)]
        for sequence, state in ((10, State.RESUMED), (11, State.UNBOUND)):
            messages.append(_message(LogicalTopic.STATES, *state_record(state, sequence=sequence)))
        await cluster.publish(messages)
        return


def _message(topic: LogicalTopic, value: bytes, headers: tuple[tuple[str, bytes], ...]) -> Message:
    return Message(topic=topic, key=SAGA.encode(), value=value, headers=headers, partition=2)
