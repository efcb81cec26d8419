"""Gets the demo an Apache Kafka: a given cluster, else local Java processes, else a container."""

import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from worker.sandbox.docker_kafka import docker_kafka, why_no_docker
from worker.sandbox.kafka_download import Progress
from worker.sandbox.kafka_errors import DownloadError, JavaMissingError, KafkaUnavailableError
from worker.sandbox.local_kafka import local_kafka

GIVEN_VARIABLE = "KAFKA_BOOTSTRAP_SERVERS"
"""The environment variable that names a cluster to use."""


class Source(StrEnum):
    """Where a Kafka came from."""

    GIVEN = "given"  # the cluster that the environment names: its data outlives us
    LOCAL = "local"  # Java processes of ours
    DOCKER = "docker"  # a container of ours


@dataclass(frozen=True, slots=True)
class ObtainedKafka:
    """An Apache Kafka that serves; `passed_over` says why the ways before this one were not open."""

    bootstrap_servers: str
    source: Source
    passed_over: tuple[str, ...] = ()


@contextlib.asynccontextmanager
async def obtain_kafka(*, directory: Path, progress: Progress | None = None) -> AsyncIterator[ObtainedKafka]:
    """Give an Apache Kafka until the block ends; one that was started for it ends with the block.

    The order: `KAFKA_BOOTSTRAP_SERVERS`; Java 17 or newer and the jars, with everything kept in `directory`;
    Docker. Raises `KafkaUnavailableError`, which tells what each way lacks, or `BrokerStartError`.
    """
    given = os.environ.get(GIVEN_VARIABLE)
    if given:
        yield ObtainedKafka(bootstrap_servers=given, source=Source.GIVEN)
        return
    async with contextlib.AsyncExitStack() as stack:
        try:
            kafka = await stack.enter_async_context(local_kafka(directory=directory, progress=progress))
        except (JavaMissingError, DownloadError) as error:
            why_not_local = f"local Kafka: {error}"
        else:
            yield ObtainedKafka(bootstrap_servers=kafka.bootstrap_servers, source=Source.LOCAL)
            return
        lacking = await why_no_docker()
        if lacking is not None:
            raise KafkaUnavailableError(
                f"no way to an Apache Kafka is open here.\n"
                f"- {GIVEN_VARIABLE} is not set: name a cluster there, as host:port\n"
                f"- {why_not_local}\n"
                f"- Docker: {lacking}: start or install Docker"
            )
        servers = await stack.enter_async_context(docker_kafka())
        yield ObtainedKafka(bootstrap_servers=servers, source=Source.DOCKER, passed_over=(why_not_local,))
