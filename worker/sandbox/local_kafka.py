"""A real Apache Kafka as local Java processes, without Docker: for the demo and for tests.

::

    async with local_kafka(directory=Path("var/kafka")) as kafka:
        connect(kafka.bootstrap_servers)
        kafka.kill()            # SIGKILL
        await kafka.restart()   # same port, same data

Everything listens on 127.0.0.1 only, and is killed when this process dies. The jars come from
`worker.sandbox.kafka_download`, Java from `worker.sandbox.java`.
"""

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from worker.sandbox.java import Java, find_java
from worker.sandbox.kafka_config import (
    HOST,
    LOG4J,
    ClusterPlan,
    Listener,
    NodePorts,
    as_text,
    node_properties,
)
from worker.sandbox.kafka_download import Progress, kafka_jars
from worker.sandbox.kafka_errors import BrokerStartError
from worker.sandbox.kafka_probe import registered_brokers
from worker.sandbox.leash import Leash

READY_WITHIN_MS = 90_000
"""How long a cluster may take until every broker serves: a slow, shared machine takes some 20 s."""

_STOP_WITHIN_S = 15
_FORMAT_WITHIN_S = 60
_PROBE_TIMEOUT_MS = 2_000
_PROBE_EVERY_S = 0.05
_TAIL_LINES = 30
_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST_PORT, _USUAL_EPHEMERAL_START = 16_000, 32_768
_PORT_TRIES = 200


@contextlib.asynccontextmanager
async def local_kafka(
    *,
    directory: Path,
    port: int = 0,
    brokers: int = 1,
    properties: Mapping[str, str] | None = None,
    users: Mapping[str, str] | None = None,
    listeners: Sequence[Listener] = (),
    progress: Progress | None = None,
) -> AsyncIterator["LocalKafka"]:
    """Run an Apache Kafka of `brokers` nodes that keeps everything in `directory` until the block ends.

    `port` is the first broker's client port (0: any free one; the other ports are free ones). `properties`
    override broker properties. `users` (name to password) get a SASL/PLAIN listener of their own, `listeners`
    are further ones. An existing `directory` is taken up again, data and all. `progress` hears of downloads.
    Raises `SandboxKafkaError`.
    """
    java = await asyncio.to_thread(find_java)
    jars = await _jars(progress)
    kafka = LocalKafka(
        directory=directory,
        java=java,
        jars=jars,
        plan=ClusterPlan(
            cluster_id=_cluster_id(directory),
            ports=free_ports(nodes=brokers, first=port),
            users=dict(users or {}),
            properties=dict(properties or {}),
            listeners=tuple(listeners),
        ),
    )
    try:
        await kafka.start()
        yield kafka
    finally:
        await kafka.stop()


class LocalKafka:
    """One cluster of local broker processes; not tied to an event loop, so a fixture may outlive loops."""

    def __init__(self, *, directory: Path, java: Java, jars: tuple[Path, ...], plan: ClusterPlan) -> None:
        self.directory = directory.absolute()  # brokers run in it
        self._plan = plan
        self._nodes = {
            node_id: _Node(node_id=node_id, plan=plan, directory=self.directory, java=java, jars=jars)
            for node_id in plan.node_ids
        }

    @property
    def plan(self) -> ClusterPlan:
        """What its nodes agreed on when it was made."""
        return self._plan

    @property
    def bootstrap_servers(self) -> str:
        """The plain listener of every broker, `host:port` separated by commas."""
        return ",".join(f"{HOST}:{ports.clients}" for ports in self._plan.ports)

    @property
    def users_bootstrap_servers(self) -> str:
        """The SASL/PLAIN listener of every broker; it is open only where the cluster has users."""
        return ",".join(f"{HOST}:{ports.users}" for ports in self._plan.ports)

    async def start(self) -> None:
        """Start what does not run, and return when every broker serves; raise `BrokerStartError`."""
        down = [node for node in self._nodes.values() if not node.running]
        for node in down:
            await asyncio.to_thread(node.prepare)
        for node in down:
            node.start()
        await self._ready()

    async def stop(self) -> None:
        """End a single broker in good order, or kill it if that takes too long; kill several at once.

        Brokers that end together cannot do so in good order: the last ones wait for a quorum that has gone.
        """
        for node in self._nodes.values():
            if len(self._nodes) > 1 and node.running:
                node.signal(signal.SIGKILL)
            node.ask_to_end()
        await asyncio.gather(*(asyncio.to_thread(node.end) for node in self._nodes.values()))

    def kill(self, node_id: int = 1) -> None:
        """Kill a broker (SIGKILL): it gets no chance to tell anyone."""
        self._nodes[node_id].kill()

    def pause(self, node_id: int = 1) -> None:
        """Stop a broker in its tracks (SIGSTOP); its connections stay open."""
        self._nodes[node_id].signal(signal.SIGSTOP)

    def resume(self, node_id: int = 1) -> None:
        """Let a paused broker go on (SIGCONT)."""
        self._nodes[node_id].signal(signal.SIGCONT)

    async def end(self, node_id: int = 1) -> None:
        """End a broker in good order: it hands over what it leads, if somebody is left to take it."""
        node = self._nodes[node_id]
        node.ask_to_end()
        await asyncio.to_thread(node.end)

    async def restart(self, node_id: int = 1, *, plan: ClusterPlan | None = None) -> None:
        """Start a broker again with its data, ending it in good order first if it runs.

        It comes back as it was, or as `plan` says: with other listeners, users or properties.
        """
        await self.end(node_id)
        if plan is not None:
            self._nodes[node_id].follow(plan)
        await self.start()

    def log_tail(self, node_id: int = 1) -> str:
        """Return the last lines of a broker's log."""
        return self._nodes[node_id].log_tail()

    async def _ready(self) -> None:
        """Wait until every broker lists every broker: registered, unfenced, serving."""
        everyone = frozenset(self._plan.node_ids)
        deadline = time.monotonic() + READY_WITHIN_MS / 1000
        for node in self._nodes.values():
            while await node.sees() != everyone:
                node.raise_if_ended()
                if time.monotonic() > deadline:
                    raise BrokerStartError(
                        f"broker {node.node_id} was not ready within {READY_WITHIN_MS / 1000:.0f} s. "
                        f"Its log {node.log} ends with:\n{node.log_tail()}"
                    )
                await asyncio.sleep(_PROBE_EVERY_S)


class _Node:
    """One broker process and its files."""

    def __init__(
        self, *, node_id: int, plan: ClusterPlan, directory: Path, java: Java, jars: tuple[Path, ...]
    ) -> None:
        self.node_id = node_id
        self.log = directory / f"broker-{node_id}.log"
        self._plan = plan
        self._port = plan.ports[node_id - 1].clients
        self._data = directory / f"data-{node_id}"
        self._config = directory / f"broker-{node_id}.properties"
        self._log4j = directory / "log4j2.properties"
        self._java, self._jars = java, jars
        self._process: subprocess.Popen[bytes] | None = None
        self._leash = contextlib.ExitStack()

    def follow(self, plan: ClusterPlan) -> None:
        self._plan = plan
        self._port = plan.ports[self.node_id - 1].clients

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def prepare(self) -> None:
        """Write the configuration and, once, format the storage."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        properties = node_properties(self._plan, node_id=self.node_id, data=self._data)
        self._config.touch(mode=0o600)  # it may hold passwords
        self._config.write_text(as_text(properties), encoding="utf-8")
        self._log4j.write_text(LOG4J, encoding="utf-8")
        if not (self._data / "meta.properties").exists():
            self._format()

    def start(self) -> None:
        self.end()  # lets go of a process that somebody else ended
        leash = self._leash.enter_context(Leash())
        command = self._command("kafka.Kafka", str(self._config))
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 -- Java as found, no shell, our own arguments
                command,
                cwd=self.log.parent,  # where a crashed Java leaves its report
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        leash.hold(self._process.pid)

    def signal(self, number: signal.Signals) -> None:
        """Signal the process; one that has ended is an error of the caller."""
        if not self.running or self._process is None:
            raise ProcessLookupError(f"broker {self.node_id} does not run: start it first")
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.end()

    def ask_to_end(self) -> None:
        if self.running:
            self.signal(signal.SIGTERM)
            self.signal(signal.SIGCONT)  # a paused process hears SIGTERM only once it goes on

    def end(self) -> None:
        """Wait for the end of a process that was asked to end; kill it when it takes too long."""
        if self._process is None:
            return
        try:
            self._process.wait(timeout=_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            self._process.wait()
        self._leash.close()

    async def sees(self) -> frozenset[int]:
        return await registered_brokers(host=HOST, port=self._port, timeout_ms=_PROBE_TIMEOUT_MS)

    def raise_if_ended(self) -> None:
        if not self.running:
            code = None if self._process is None else self._process.returncode
            raise BrokerStartError(
                f"broker {self.node_id} ended with exit code {code}. "
                f"Its log {self.log} ends with:\n{self.log_tail()}"
            )

    def log_tail(self) -> str:
        if not self.log.exists():
            return "(no log yet)"
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_TAIL_LINES:])

    def _format(self) -> None:
        command = self._command(
            "kafka.tools.StorageTool",
            "format",
            # One argument: an id may begin with a dash.
            f"--cluster-id={self._plan.cluster_id}",
            "-c",
            str(self._config),
        )
        with self.log.open("ab") as log:
            try:
                subprocess.run(  # noqa: S603 -- Java as found, no shell, our own arguments
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    check=True,
                    timeout=_FORMAT_WITHIN_S,
                )
            except (OSError, subprocess.SubprocessError) as error:
                raise BrokerStartError(
                    f"formatting the storage of broker {self.node_id} failed ({error.__class__.__name__}). "
                    f"The log {self.log} ends with:\n{self.log_tail()}"
                ) from error

    def _command(self, main: str, *arguments: str) -> list[str]:
        return [
            str(self._java.program),
            "-Xms64m",
            "-Xmx512m",
            # A broker for a demo or a test lives for seconds: starting fast beats running fast.
            "-XX:TieredStopAtLevel=1",
            "-XX:+UseSerialGC",
            "-Xshare:auto",
            "-Djava.awt.headless=true",
            f"-Dlog4j2.configurationFile={self._log4j}",
            "-cp",
            os.pathsep.join(str(jar) for jar in self._jars),
            main,
            *arguments,
        ]


async def _jars(progress: Progress | None) -> tuple[Path, ...]:
    """Get the jars in a thread that ends when this is cancelled: a Ctrl-C does not wait for a download."""
    stop = threading.Event()
    try:
        return await asyncio.to_thread(kafka_jars, progress=progress, stop=stop)
    finally:
        stop.set()


def free_ports(*, nodes: int, first: int = 0) -> tuple[NodePorts, ...]:
    """Return ports for this many nodes that nothing listens on now.

    They lie below the range from which the system takes ports for outgoing connections: a client that
    calls again and again while its broker is down could otherwise be given the broker's own port,
    connect to itself, and keep the broker from coming back.
    """
    ports = _unused(3 * nodes)
    return tuple(
        NodePorts(
            clients=first if first and node == 0 else ports[3 * node],
            controller=ports[3 * node + 1],
            users=ports[3 * node + 2],
        )
        for node in range(nodes)
    )


def _unused(count: int) -> list[int]:
    top = _USUAL_EPHEMERAL_START
    if _EPHEMERAL_RANGE.exists():
        top = int(_EPHEMERAL_RANGE.read_text(encoding="ascii").split()[0])
    if top <= _LOWEST_PORT:
        top = _USUAL_EPHEMERAL_START
    found: list[int] = []
    for _ in range(_PORT_TRIES * count):
        port = _LOWEST_PORT + secrets.randbelow(top - _LOWEST_PORT)
        if port not in found and _is_free(port):
            found.append(port)
        if len(found) == count:
            return found
    raise BrokerStartError(
        f"no {count} free ports on {HOST} between {_LOWEST_PORT} and {top}: end what uses them"
    )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _cluster_id(directory: Path) -> str:
    """Return the id of the cluster that `directory` holds already, or a new one."""
    meta = directory / "data-1" / "meta.properties"
    if meta.exists():
        for line in meta.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition("=")
            if name == "cluster.id":
                return value
    return secrets.token_urlsafe(16)
