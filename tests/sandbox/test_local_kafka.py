import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import TopicAuthorizationFailedError

from tests.brokers.fixtures import StartBroker
from tests.brokers.topics import create_topics
from worker.sandbox.kafka_errors import BrokerStartError
from worker.sandbox.kafka_probe import registered_brokers
from worker.sandbox.local_kafka import LocalKafka, free_ports, local_kafka

_ENDED_WITHIN_S = 15

PARENT = """
import asyncio, sys
from pathlib import Path
from worker.sandbox.local_kafka import local_kafka
async def main():
    async with local_kafka(directory=Path(sys.argv[1])) as kafka:
        print(kafka.bootstrap_servers, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


async def answers(servers: str, *, timeout_ms: int = 2_000) -> bool:
    """Return whether a broker answers a request there."""
    host, _, port = servers.partition(":")
    return bool(await registered_brokers(host=host, port=int(port), timeout_ms=timeout_ms))


async def write(servers: str, topic: str, value: bytes) -> None:
    """Write one record to partition 0."""
    async with AIOKafkaProducer(bootstrap_servers=servers, acks="all") as producer:
        await producer.send_and_wait(topic, value, partition=0)


async def first_record(servers: str, topic: str) -> bytes:
    """Return the value of the first record of partition 0."""
    async with AIOKafkaConsumer(bootstrap_servers=servers, auto_offset_reset="earliest") as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        record = await asyncio.wait_for(consumer.getone(), timeout=30)
        value: bytes = record.value
        return value


def test_ports_are_distinct_and_below_those_of_outgoing_connections() -> None:
    """A client that calls while its broker is down is never given the broker's own port."""
    planned = free_ports(nodes=3)
    ports = [port for node in planned for port in (node.clients, node.controller, node.users)]
    lowest_outgoing = int(
        Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0]
    )
    assert len(set(ports)) == 9
    assert max(ports) < lowest_outgoing


def test_a_given_port_is_the_first_brokers() -> None:
    """The caller may choose where clients connect."""
    assert free_ports(nodes=2, first=19_999)[0].clients == 19_999


@pytest.mark.broker
async def test_a_killed_broker_comes_back_with_its_data(private_broker: LocalKafka) -> None:
    """After SIGKILL nothing answers; after a restart the same address serves the same records."""
    servers = private_broker.bootstrap_servers
    await create_topics(servers, {"kept": 1})
    await write(servers, "kept", b"before")
    private_broker.kill()
    assert not await answers(servers)
    await private_broker.restart()
    assert private_broker.bootstrap_servers == servers
    assert await first_record(servers, "kept") == b"before"


@pytest.mark.broker
async def test_a_paused_broker_is_silent_until_it_is_resumed(private_broker: LocalKafka) -> None:
    """SIGSTOP keeps the port open and answers nothing; SIGCONT goes on; a paused broker can be ended."""
    servers = private_broker.bootstrap_servers
    private_broker.pause()
    assert not await answers(servers, timeout_ms=300)
    private_broker.resume()
    assert await answers(servers, timeout_ms=20_000)
    private_broker.pause()
    await private_broker.stop()
    assert not await answers(servers)


@pytest.mark.broker
async def test_a_record_outlives_one_of_three_brokers(start_broker: StartBroker) -> None:
    """With three brokers, what all have acknowledged is read after one was killed."""
    kafka = await start_broker(brokers=3)
    await create_topics(kafka.bootstrap_servers, {"kept": 1}, replication=3)
    await write(kafka.bootstrap_servers, "kept", b"before")
    kafka.kill(2)
    assert await first_record(kafka.bootstrap_servers, "kept") == b"before"


@pytest.mark.broker
async def test_a_user_may_do_only_what_is_allowed(start_broker: StartBroker) -> None:
    """With an authorizer, a named user without a grant is refused what the plain listener may do."""
    kafka = await start_broker(
        users={"nobody": "nothing"},
        properties={
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        },
    )
    await create_topics(kafka.bootstrap_servers, {"guarded": 1})
    await write(kafka.bootstrap_servers, "guarded", b"by the plain listener")
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka.users_bootstrap_servers,
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="PLAIN",
        sasl_plain_username="nobody",
        sasl_plain_password="nothing",
    )
    async with producer:
        with pytest.raises(TopicAuthorizationFailedError):
            await producer.send_and_wait("guarded", b"by nobody", partition=0)


@pytest.mark.broker
async def test_a_broker_that_cannot_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    """The error carries what the broker said, and the block is never entered."""
    with pytest.raises(BrokerStartError, match=r"num\.network\.threads"):
        async with local_kafka(directory=tmp_path / "kafka", properties={"num.network.threads": "none"}):
            pytest.fail("the broker started with a configuration that it must refuse")


@pytest.mark.broker
async def test_no_broker_outlives_the_process_that_started_it(tmp_path: Path) -> None:
    """A program that is killed leaves no broker behind."""
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, str(tmp_path / "kafka"), stdout=asyncio.subprocess.PIPE
    )
    assert program.stdout is not None
    servers = (await program.stdout.readline()).decode().strip()
    assert await answers(servers)
    os.kill(program.pid, signal.SIGKILL)
    await program.wait()
    deadline = time.monotonic() + _ENDED_WITHIN_S
    while await answers(servers, timeout_ms=200):
        assert time.monotonic() < deadline, f"a broker lives on at {servers}"
