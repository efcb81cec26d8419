"""Apache Kafka in a container, by testcontainers: `KafkaContainer` there fits other images only."""

import contextlib
import gc
import io
import socket
import tarfile
import textwrap
import warnings
from typing import Self

import docker
import docker.errors
from requests.exceptions import RequestException
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy
from typing_extensions import override

IMAGE = "apache/kafka:4.4.0"
_PORT = 9092
_START = "/tmp/start.sh"  # noqa: S108 -- a path inside the container, which nobody else uses
_ENGINE_ANSWERS_WITHIN_S = 5
_PULLED_WITHIN_S = 300
_CONNECTED_WITHIN_S = 2
_STARTED_WITHIN_S = 120


def why_no_container() -> str | None:
    """Return why no container can be started here, or None if one can; gets the image if need be."""
    why = _why_no_engine()
    if why is not None:
        return why
    if not _has_image(IMAGE):
        return f"a Docker engine answers, but cannot get {IMAGE}"
    if not _has_image(testcontainers_config.ryuk_image):
        testcontainers_config.ryuk_disabled = True  # its clean-up container; the fixture cleans up as well
    return None


class ApacheKafkaContainer(DockerContainer):
    """A single broker.

    Its advertised address is known only once Docker has published the port: so the container waits
    for a start script, which is put into it then.
    """

    def __init__(self) -> None:
        super().__init__(IMAGE)
        self.with_exposed_ports(_PORT)
        self.with_command(["bash", "-c", f"until [ -e {_START} ]; do sleep 0.05; done; exec bash {_START}"])
        self.waiting_for_start = LogMessageWaitStrategy("Kafka Server started").with_startup_timeout(
            _STARTED_WITHIN_S
        )

    @property
    def bootstrap_servers(self) -> str:
        """The published address.

        Docker listens on it before the broker does. Where this machine is a container itself, whether that
        is at localhost or at the gateway depends on whose engine it is: so try.
        """
        port = int(self.get_exposed_port(_PORT))
        host = "localhost" if _accepts("localhost", port) else self.get_container_host_ip()
        return f"{host}:{port}"

    @override
    def start(self) -> Self:
        """Start the container, then the broker in it, and return when it serves."""
        super().start()
        try:
            self.get_wrapped_container().put_archive("/", _archive(_start_script(self.bootstrap_servers)))
            self.waiting_for_start.wait_until_ready(self)
        except BaseException:
            self.stop()
            raise
        return self


def _why_no_engine() -> str | None:
    with warnings.catch_warnings():
        # The client forgets to close the socket of a connection that was refused.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            docker.from_env(timeout=_ENGINE_ANSWERS_WITHIN_S).close()
        except docker.errors.DockerException:
            return "no Docker engine answers"
        finally:
            gc.collect()
    return None


def _has_image(image: str) -> bool:
    """Return whether the engine has the image, pulling it if it has not."""
    with contextlib.closing(docker.from_env(timeout=_PULLED_WITHIN_S)) as engine:
        try:
            engine.images.get(image)
        except docker.errors.ImageNotFound:
            try:
                engine.images.pull(image)
            except (docker.errors.DockerException, RequestException):
                return False
    return True


def _accepts(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=_CONNECTED_WITHIN_S).close()
    except OSError:
        return False
    return True


def _start_script(address: str) -> str:
    environment = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_INTER_BROKER_LISTENER_NAME": "INTERNAL",
        "KAFKA_LISTENERS": f"EXTERNAL://:{_PORT},INTERNAL://:19092,CONTROLLER://:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"EXTERNAL://{address},INTERNAL://localhost:19092",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "EXTERNAL:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS": "5",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_NUM_PARTITIONS": "5",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_TRANSACTION_ABORT_TIMED_OUT_TRANSACTION_CLEANUP_INTERVAL_MS": "1000",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
        "KAFKA_HEAP_OPTS": "-Xms64m -Xmx512m",
        "KAFKA_JVM_PERFORMANCE_OPTS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    }
    exports = "\n".join(f"export {name}='{value}'" for name, value in environment.items())
    return textwrap.dedent("""\
        #!/bin/bash
        {exports}
        exec /etc/kafka/docker/run
        """).format(exports=exports)


def _archive(script: str) -> bytes:
    content = script.encode()
    entry = tarfile.TarInfo(_START.removeprefix("/"))
    entry.size = len(content)
    entry.mode = 0o755
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
