"""Apache Kafka in a container, by the docker command: where a machine has Docker but no Java."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator

from worker.sandbox.kafka_config import HOST
from worker.sandbox.kafka_errors import BrokerStartError
from worker.sandbox.kafka_probe import registered_brokers
from worker.sandbox.local_kafka import free_ports

IMAGE = "apache/kafka:4.4.0"
_READY_WITHIN_S = 90
_ANSWERS_WITHIN_S = 10
_PULLED_WITHIN_S = 600
_PROBE_EVERY_S = 0.1
_PROBE_TIMEOUT_MS = 2_000


async def why_no_docker() -> str | None:
    """Return why Docker cannot be used here, or None if an engine answers."""
    try:
        code, said = await _docker("version", "--format", "{{.Server.Version}}", within_s=_ANSWERS_WITHIN_S)
    except FileNotFoundError:
        return "there is no docker command"
    except TimeoutError:
        return f"the Docker engine did not answer within {_ANSWERS_WITHIN_S} s"
    return None if code == 0 else f"no Docker engine answers ({said})"


@contextlib.asynccontextmanager
async def docker_kafka() -> AsyncIterator[str]:
    """Run a broker in a container until the block ends; yield its bootstrap servers.

    Raises `BrokerStartError` with what Docker or the broker said last.
    """
    port = free_ports(nodes=1)[0].clients
    name = f"unbinding-kafka-{secrets.token_hex(4)}"
    arguments = ["run", "--detach", "--rm", "--name", name, "--publish", f"{HOST}:{port}:{port}"]
    for variable, value in _environment(port).items():
        arguments += ["--env", f"{variable}={value}"]
    try:
        try:
            code, said = await _docker(*arguments, IMAGE, within_s=_PULLED_WITHIN_S)
        except TimeoutError:
            code, said = None, f"it took longer than {_PULLED_WITHIN_S} s"
        if code != 0:
            raise BrokerStartError(f"docker cannot run {IMAGE}: {said}. Pull the image, or install Java 17.")
        await _ready(name=name, port=port)
        yield f"{HOST}:{port}"
    finally:
        await _docker("rm", "--force", "--volumes", name, within_s=_READY_WITHIN_S)


async def _ready(*, name: str, port: int) -> None:
    deadline = time.monotonic() + _READY_WITHIN_S
    while not await registered_brokers(host=HOST, port=port, timeout_ms=_PROBE_TIMEOUT_MS):
        if time.monotonic() > deadline:
            _, said = await _docker("logs", "--tail", "30", name, within_s=_ANSWERS_WITHIN_S)
            raise BrokerStartError(f"the broker in Docker was not ready within {_READY_WITHIN_S} s:\n{said}")
        await asyncio.sleep(_PROBE_EVERY_S)


async def _docker(*arguments: str, within_s: float) -> tuple[int, str]:
    """Return the exit code and what was said; raise `FileNotFoundError` or `TimeoutError`."""
    process = await asyncio.create_subprocess_exec(
        "docker",
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(within_s):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, said.decode(errors="replace").strip()


def _environment(port: int) -> dict[str, str]:
    """Return the settings of one node whose clients come to `port` on this machine."""
    return {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_INTER_BROKER_LISTENER_NAME": "INTERNAL",
        "KAFKA_LISTENERS": f"CLIENTS://:{port},INTERNAL://:9094,CONTROLLER://:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"CLIENTS://{HOST}:{port},INTERNAL://localhost:9094",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CLIENTS:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS": "5",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_NUM_PARTITIONS": "5",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
    }
