"""What an administrator of the cluster does: quotas, users, elections; and who leads and coordinates what.

The requests are written out as in the Kafka protocol guide, for aiokafka has none of them.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.protocol.admin import AlterPartitionReassignmentsRequest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.produce import ProduceRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping, Sequence

    from aiokafka.structs import TopicPartition

_ALTER_CLIENT_QUOTAS: Final = 49
_ELECT_LEADERS: Final = 43
_ALTER_SCRAM: Final = 51
_SCRAM_SHA_512: Final = 2
_ITERATIONS: Final = 4_096
_CLIENT: Final = b"tests"
_NO_ELECTION_NEEDED: Final = 84


async def set_quota(servers: str, *, client_id: str, rates: Mapping[str, float | None]) -> None:
    """Set quotas of a client id such as `producer_byte_rate`; `None` removes one."""
    body = struct.pack(">i", 1)
    body += struct.pack(">i", 1) + _text("client-id") + _text(client_id)
    body += struct.pack(">i", len(rates))
    for name, rate in rates.items():
        body += _text(name) + struct.pack(">d?", rate or 0.0, rate is None)
    body += struct.pack(">?", False)
    answer = await _ask(servers, _ALTER_CLIENT_QUOTAS, body)
    (code,) = struct.unpack_from(">h", answer, 8)
    _require(code, "AlterClientQuotas")


async def set_password(servers: str, *, user: str, password: str) -> None:
    """Give a user a SCRAM-SHA-512 password; connections that stand are not asked for it."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ITERATIONS)
    body = b"\x01"  # no deletion
    body += b"\x02" + _compact(user.encode()) + struct.pack(">bi", _SCRAM_SHA_512, _ITERATIONS)
    body += _compact(salt) + _compact(salted) + b"\x00\x00"
    answer = await _ask(servers, _ALTER_SCRAM, body, flexible=True)
    # Header tags, throttle time, array of one, then the user's name and the code.
    at = 1 + 4 + 1
    (code,) = struct.unpack_from(">h", answer, at + 1 + len(user))
    _require(code, "AlterUserScramCredentials")


async def elect(servers: str, partitions: Collection[TopicPartition]) -> None:
    """Let the first replica of each partition lead."""
    body = struct.pack(">i", len(partitions))
    for tp in partitions:
        body += _text(tp.topic) + struct.pack(">ii", 1, tp.partition)
    body += struct.pack(">i", 10_000)
    answer = await _ask(servers, _ELECT_LEADERS, body)
    at = 8
    for _ in range(struct.unpack_from(">i", answer, 4)[0]):
        at += 2 + struct.unpack_from(">h", answer, at)[0] + 4
        code, said = struct.unpack_from(">hh", answer, at + 4)
        at += 8 + max(said, 0)
        if code != _NO_ELECTION_NEEDED:
            _require(code, "ElectLeaders")


async def reorder(servers: str, replicas: Mapping[TopicPartition, Sequence[int]]) -> None:
    """Name each partition's replicas in this order, or on these brokers; `elect` makes the first one lead."""
    topics: Any = [
        (tp.topic, [(tp.partition, list(nodes), {})], {}) for tp, nodes in sorted(replicas.items())
    ]
    async with asking(servers) as client:
        request = AlterPartitionReassignmentsRequest(10_000, topics, {})  # type: ignore[arg-type]  # no tags
        answer = await client.send(client.get_random_node(), request)
        _require(answer.error_code, "AlterPartitionReassignments")
        for _topic, parts, _tags in answer.responses:
            for _partition, code, *_rest in parts:
                _require(code, "AlterPartitionReassignments")


async def leaders(servers: str, topics: Collection[str]) -> dict[tuple[str, int], int]:
    """Return who leads each partition; -1 is nobody."""
    async with asking(servers) as client:
        await client.set_topics(list(topics))
        cluster = client.cluster
        return {
            (topic, number): cluster._partitions[topic][number].leader  # noqa: SLF001 - no public way
            for topic in topics
            for number in cluster.partitions_for_topic(topic) or ()
        }


async def coordinator(servers: str, *, group: str = "", transactional_id: str = "") -> int:
    """Return the node that coordinates a group or a transactional id."""
    kind = CoordinationType.GROUP if group else CoordinationType.TRANSACTION
    async with asking(servers) as client:
        return int(await client.coordinator_lookup(kind, group or transactional_id))


async def throttled_ms(servers: str, *, client_id: str) -> int:
    """Ask how long the broker holds back whoever has this client id: a producer or a reader, the longer one.

    An empty request of either kind is counted with the client's own; its answer says by how much it is over.
    """
    async with asking(servers, client_id=client_id) as client:
        node = client.get_random_node()
        produced = await client.send(node, ProduceRequest(None, -1, 1_000, []))
        fetched = await client.send(node, FetchRequest(0, 0, 1, 0, []))
        return int(max(produced.throttle_time_ms, fetched.throttle_time_ms))


@asynccontextmanager
async def asking(servers: str, *, client_id: str = "tests") -> AsyncIterator[AIOKafkaClient]:
    """Give a client that knows the cluster."""
    client = AIOKafkaClient(bootstrap_servers=servers, client_id=client_id, request_timeout_ms=5_000)
    await client.bootstrap()
    try:
        yield client
    finally:
        await client.close()


def _require(code: int, request: str) -> None:
    if code:
        raise AssertionError(f"{request} was answered with error {code}")


def _text(value: str) -> bytes:
    return struct.pack(">h", len(value)) + value.encode()


def _compact(value: bytes) -> bytes:
    return bytes([len(value) + 1]) + value


async def _ask(servers: str, api: int, body: bytes, *, flexible: bool = False) -> bytes:
    """Send version 0 of a request to the first server; return the answer after its correlation id."""
    host, _, port = servers.partition(",")[0].rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        head = struct.pack(">hhih", api, 0, 1, len(_CLIENT)) + _CLIENT + (b"\x00" if flexible else b"")
        writer.write(struct.pack(">i", len(head) + len(body)) + head + body)
        async with asyncio.timeout(20):
            (size,) = struct.unpack(">i", await reader.readexactly(4))
            return (await reader.readexactly(size))[4:]
    finally:
        writer.close()
