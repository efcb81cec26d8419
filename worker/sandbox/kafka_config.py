"""The properties of a local Apache Kafka (KRaft, every node broker and controller), as text for its files."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

HOST = "127.0.0.1"
"""Everything listens here and nowhere else."""

LOG4J = """\
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %p %m (%c)%n
rootLogger.level = info
rootLogger.appenderRef.out.ref = out
logger.config.name = org.apache.kafka.common.config
logger.config.level = warn
logger.config2.name = kafka.server.KafkaConfig
logger.config2.level = warn
"""


@dataclass(frozen=True, slots=True)
class NodePorts:
    """The ports of one node; `users` is used only where the cluster has SASL users."""

    clients: int
    controller: int
    users: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """One more listener of every node, beside the plain one: for TLS, or with something else in front of it.

    `advertised` are the ports that clients are told, where they are not those listened on. `properties` are
    the listener's own, without their prefix; `mechanisms` those of SASL, where the protocol has it.
    """

    name: str
    protocol: str
    ports: tuple[int, ...]
    advertised: tuple[int, ...] = ()
    mechanisms: tuple[str, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict, repr=False)

    def as_properties(self) -> dict[str, str]:
        """Return the broker properties that are this listener's own."""
        prefix = f"listener.name.{self.name.lower()}."
        own = {f"{prefix}{name}": value for name, value in self.properties.items()}
        if self.mechanisms:
            own[f"{prefix}sasl.enabled.mechanisms"] = ",".join(self.mechanisms)
        return own


@dataclass(frozen=True, slots=True)
class ClusterPlan:
    """What all nodes of a local cluster agree on; node ids count from 1.

    `users` maps name to password: they get a SASL/PLAIN listener of their own beside the plain one.
    `listeners` are further ones. `properties` are broker properties that override those written here.
    """

    cluster_id: str
    ports: tuple[NodePorts, ...]
    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    properties: Mapping[str, str] = field(default_factory=dict)
    listeners: tuple[Listener, ...] = ()

    def having(self, *listeners: Listener) -> "ClusterPlan":
        """Return the same plan with these further listeners in place of its own."""
        return replace(self, listeners=listeners)

    @property
    def node_ids(self) -> tuple[int, ...]:
        """The ids of the nodes: 1, 2, 3 …."""
        return tuple(range(1, len(self.ports) + 1))


def node_properties(plan: ClusterPlan, *, node_id: int, data: Path) -> dict[str, str]:
    """Return the properties of one node that keeps its logs in `data`."""
    ports = plan.ports[node_id - 1]
    copies = str(min(3, len(plan.ports)))
    enough = str(min(2, len(plan.ports)))
    listeners = {"PLAINTEXT": ports.clients, "CONTROLLER": ports.controller}
    protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT"}
    if plan.users:
        listeners["USERS"] = ports.users
        protocols["USERS"] = "SASL_PLAINTEXT"
    advertised = {name: port for name, port in listeners.items() if name != "CONTROLLER"}
    more: dict[str, str] = {}
    for listener in plan.listeners:
        listeners[listener.name] = listener.ports[node_id - 1]
        advertised[listener.name] = (listener.advertised or listener.ports)[node_id - 1]
        protocols[listener.name] = listener.protocol
        more |= listener.as_properties()
    return {
        "process.roles": "broker,controller",
        "node.id": str(node_id),
        "controller.quorum.voters": ",".join(
            f"{voter}@{HOST}:{plan.ports[voter - 1].controller}" for voter in plan.node_ids
        ),
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listeners": _listeners(listeners),
        "advertised.listeners": _listeners(advertised),
        "listener.security.protocol.map": ",".join(f"{n}:{p}" for n, p in protocols.items()),
        "log.dirs": str(data),
        "auto.create.topics.enable": "false",
        "default.replication.factor": copies,
        "min.insync.replicas": enough,
        # Fewer partitions of the internal topics: the first transaction and the first group start faster.
        "offsets.topic.num.partitions": "5",
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.num.partitions": "5",
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": enough,
        "share.coordinator.state.topic.num.partitions": "1",
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": enough,
        # A killed broker may register again only when its old session has run out.
        "broker.heartbeat.interval.ms": "500",
        "broker.session.timeout.ms": "3000",
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
        "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
        **_sasl(plan.users),
        **more,
        **plan.properties,
    }


def as_text(properties: Mapping[str, str]) -> str:
    """Return a Java properties file, sorted by key, with backslashes and line ends escaped."""
    escaped = {
        key: value.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
        for key, value in properties.items()
    }
    return "".join(f"{key}={escaped[key]}\n" for key in sorted(escaped))


def _listeners(ports: Mapping[str, int]) -> str:
    return ",".join(f"{name}://{HOST}:{port}" for name, port in ports.items())


def _sasl(users: Mapping[str, str]) -> dict[str, str]:
    if not users:
        return {}
    logins = " ".join(f'user_{name}="{password}"' for name, password in users.items())
    module = "org.apache.kafka.common.security.plain.PlainLoginModule"
    return {
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.users.plain.sasl.jaas.config": f"{module} required {logins};",
    }
