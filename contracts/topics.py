"""Which topics there are, what each is for, and which partition a binding belongs to."""

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Final

DEFAULT_PARTITIONS: Final = 12
DEFAULT_REPLICATION: Final = 3
TOPIC_NAME_MAX: Final = 249

_NAME = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)
_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS
_MIN_INSYNC: Final = 2
_REPLICATION_FOR_MIN_INSYNC: Final = 3


class LogicalTopic(StrEnum):
    """One topic by its purpose; its name on a cluster also has the prefix of the installation."""

    REQUESTS = "requests"
    """Requests of upstream. Each record is read, once, by the shard of its partition."""
    NOTICES = "notices"
    """Evidence that arrived elsewhere: a token or an agreement is dead."""
    COMMANDS = "commands"
    """Replay and discard, one saga per command, in the partition of the letter."""
    HOLDS = "holds"
    """Standing orders not to call. Every worker reads all of it and follows."""
    STATES = "states"
    """One event per transition of a saga: what the rest of the company reads."""
    JOURNAL = "journal"
    """What a shard restores from. Internal: its format is no contract."""
    DEAD_LETTERS = "dead_letters"
    """The open dead letters, one per parked saga; a tombstone resolves one."""
    VERDICTS = "verdicts"
    """Audit: how every command ended."""


class Writer(StrEnum):
    """Who may write a topic; the access lists of a cluster follow from it."""

    UPSTREAM = "upstream"
    ON_CALL = "on_call"
    WORKER = "worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """What a topic is made of.

    `configs` are Kafka's topic configs apart from those that depend on the replication factor,
    which `topic_configs` adds.
    """

    name: str
    key: str
    purpose: str
    writers: tuple[Writer, ...]
    cleanup: str
    co_partitioned: bool = True
    configs: Mapping[str, str] = field(default_factory=dict)


def _delete_after(retention_ms: int) -> Mapping[str, str]:
    return MappingProxyType({"retention.ms": str(retention_ms)})


TOPICS: Final[Mapping[LogicalTopic, Topic]] = MappingProxyType(
    {
        LogicalTopic.REQUESTS: Topic(
            name="unbinding.requests",
            key="binding id",
            purpose="Requests to unbind or to bind again.",
            writers=(Writer.UPSTREAM, Writer.WORKER),
            cleanup="delete",
            configs=_delete_after(14 * _DAY_MS),
        ),
        LogicalTopic.NOTICES: Topic(
            name="unbinding.notices",
            key="binding id, or none",
            purpose="Evidence that a token or an agreement is dead, received elsewhere.",
            writers=(Writer.UPSTREAM, Writer.WORKER),
            cleanup="delete",
            configs=_delete_after(14 * _DAY_MS),
        ),
        LogicalTopic.COMMANDS: Topic(
            name="unbinding.commands",
            key="letter key, written to the letter's own partition",
            purpose="Replay and discard of dead letters, one saga per command.",
            writers=(Writer.ON_CALL,),
            cleanup="delete",
            configs=_delete_after(14 * _DAY_MS),
        ),
        LogicalTopic.HOLDS: Topic(
            name="unbinding.holds",
            key="hold id",
            purpose="Standing orders not to call; a tombstone releases one.",
            writers=(Writer.ON_CALL,),
            cleanup="compact",
            co_partitioned=False,
            configs=MappingProxyType({"max.compaction.lag.ms": str(_DAY_MS)}),
        ),
        LogicalTopic.STATES: Topic(
            name="binding.states",
            key="binding id",
            purpose="One event per transition of a saga.",
            writers=(Writer.WORKER,),
            cleanup="delete",
            configs=_delete_after(365 * _DAY_MS),
        ),
        LogicalTopic.JOURNAL: Topic(
            name="unbinding.journal",
            key="internal",
            purpose="What a shard restores from; internal, no contract.",
            writers=(Writer.WORKER,),
            # Never "compact,delete": retention would delete the state of a saga that is still open.
            cleanup="compact",
            configs=MappingProxyType(
                {"segment.bytes": str(64 * 1024 * 1024), "max.compaction.lag.ms": str(_HOUR_MS)}
            ),
        ),
        LogicalTopic.DEAD_LETTERS: Topic(
            name="unbinding.dead-letters",
            key="saga id, or origin where there is none",
            purpose="The open dead letters; an unresolved one never expires.",
            writers=(Writer.WORKER,),
            cleanup="compact",
            configs=MappingProxyType({"max.compaction.lag.ms": str(_DAY_MS)}),
        ),
        LogicalTopic.VERDICTS: Topic(
            name="unbinding.verdicts",
            key="letter key",
            purpose="Audit: every command with who, why, and how it ended.",
            writers=(Writer.WORKER,),
            cleanup="delete",
            configs=_delete_after(3_650 * _DAY_MS),
        ),
    }
)


def topic_name(topic: LogicalTopic, *, prefix: str = "") -> str:
    """Return the topic's name on a cluster: the prefix as it is, then the name.

    Raises `ValueError` if Kafka would not take the name.
    """
    name = prefix + TOPICS[topic].name
    if len(name) > TOPIC_NAME_MAX or _NAME.fullmatch(name) is None:
        raise ValueError(
            f"topics.prefix gives a name that Kafka does not allow for {topic.value}: "
            f"use letters, digits, '.', '_' and '-', at most {TOPIC_NAME_MAX} characters in all"
        )
    return name


def topic_partitions(topic: LogicalTopic, *, partitions: int = DEFAULT_PARTITIONS) -> int:
    """Return how many partitions the topic has where `partitions` is the count of the requests topic."""
    return partitions if TOPICS[topic].co_partitioned else 1


def topic_configs(topic: LogicalTopic, *, replication: int = DEFAULT_REPLICATION) -> dict[str, str]:
    """Return the topic's Kafka configs at this replication factor, ready for creation or comparison.

    `min.insync.replicas` is 2 from replication 3 on; below that a lost broker would stop all writes.
    """
    min_insync = _MIN_INSYNC if replication >= _REPLICATION_FOR_MIN_INSYNC else 1
    return {
        "cleanup.policy": TOPICS[topic].cleanup,
        "min.insync.replicas": str(min_insync),
        "unclean.leader.election.enable": "false",
        **TOPICS[topic].configs,
    }


def partition_of(binding_id: str, count: int) -> int:
    """Return the partition (0 … count - 1) that a binding belongs to in every co-partitioned topic.

    Same as Kafka's Java client for a record with the key `binding_id` in UTF-8:
    `toPositive(murmur2(key)) % count`.
    """
    return (murmur2(binding_id.encode()) & 0x7FFFFFFF) % count


def murmur2(data: bytes) -> int:
    """Return MurmurHash2 of `data` with Kafka's seed, as an unsigned 32-bit number (Utils.murmur2)."""
    length = len(data)
    words = _words(length >> 2)
    digest = 0x9747B28C ^ length
    for word in words.unpack_from(data):
        mixed = word * 0x5BD1E995 & 0xFFFFFFFF
        digest = digest * 0x5BD1E995 & 0xFFFFFFFF ^ (mixed ^ mixed >> 24) * 0x5BD1E995 & 0xFFFFFFFF
    if length & 3:
        rest = int.from_bytes(data[words.size :], "little")
        digest = (digest ^ rest) * 0x5BD1E995 & 0xFFFFFFFF
    digest = (digest ^ digest >> 13) * 0x5BD1E995 & 0xFFFFFFFF
    return digest ^ digest >> 15


@lru_cache(maxsize=1024)
def _words(count: int) -> struct.Struct:
    return struct.Struct(f"<{count}I")
