"""Record batches written byte by byte, so that a test can send what no client library would send.

Format: Apache Kafka, "Message Format", record batch version 2.
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from aiokafka import codec
from aiokafka import errors as kafka
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.util import calc_crc32c

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from aiokafka.structs import TopicPartition

RawHeaders = tuple[tuple[bytes, bytes | None], ...]

_CODECS: Final[dict[str, tuple[int, Callable[[bytes], bytes]]]] = {
    "none": (0, bytes),
    "gzip": (1, codec.gzip_encode),
    "snappy": (2, codec.snappy_encode),
    "lz4": (3, codec.lz4_encode),
    "zstd": (4, codec.zstd_encode),
}
CODECS: Final = tuple(name for name in _CODECS if name != "none")
_AFTER_CRC: Final = struct.Struct(">hiqqqhii")
_ANSWER_MS: Final = 30_000
_TRIES: Final = 50
_RETRY_S: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRecord:
    """One record; `at` is its timestamp in ms since the Unix epoch."""

    value: bytes | None
    key: bytes | None = None
    headers: RawHeaders = ()
    at: int = 0


def encode(records: Sequence[RawRecord], *, compression: str = "none") -> bytes:
    """Return one batch of these records."""
    first_at = records[0].at
    body = b"".join(_record(number, record, first_at) for number, record in enumerate(records))
    number, compress = _CODECS[compression]
    checked = _AFTER_CRC.pack(
        number,
        len(records) - 1,
        first_at,
        max(record.at for record in records),
        -1,
        -1,
        -1,
        len(records),
    ) + compress(body)
    rest = struct.pack(">ibI", -1, 2, calc_crc32c(checked)) + checked
    return struct.pack(">qi", 0, len(rest)) + rest


def _record(number: int, record: RawRecord, first_at: int) -> bytes:
    headers = b"".join(_bytes(name) + _bytes(content) for name, content in record.headers)
    body = (
        b"\0"
        + _varint(record.at - first_at)
        + _varint(number)
        + _bytes(record.key)
        + _bytes(record.value)
        + _varint(len(record.headers))
        + headers
    )
    return _varint(len(body)) + body


def _bytes(content: bytes | None) -> bytes:
    return _varint(-1) if content is None else _varint(len(content)) + content


def _varint(number: int) -> bytes:
    """Return a number in zigzag form, seven bits to a byte."""
    rest = number * 2 if number >= 0 else -number * 2 - 1
    found = bytearray()
    while rest > 0x7F:
        found.append(rest & 0x7F | 0x80)
        rest >>= 7
    found.append(rest)
    return bytes(found)


class RawProducer:
    """Sends batches as they are; an async context."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._client = AIOKafkaClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=_ANSWER_MS)

    async def __aenter__(self) -> Self:
        await self._client.bootstrap()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def send(self, tp: TopicPartition, batch: bytes) -> int:
        """Append a batch and return its first offset. Raises KafkaError where the broker refuses it."""
        for _ in range(_TRIES):
            try:
                return await self._send(tp, batch)
            except (kafka.NotLeaderForPartitionError, kafka.UnknownTopicOrPartitionError):
                # A topic that was just made: its leader does not know it yet. Nothing was written.
                await self._client.force_metadata_update()
                await asyncio.sleep(_RETRY_S)
        return await self._send(tp, batch)

    async def _send(self, tp: TopicPartition, batch: bytes) -> int:
        await self._client.add_topic(tp.topic)
        node = self._client.cluster.leader_for_partition(tp)
        if node is None or node < 0:
            raise kafka.UnknownTopicOrPartitionError(f"{tp.topic}/{tp.partition}")
        request = ProduceRequest(
            transactional_id=None,
            required_acks=-1,
            timeout=_ANSWER_MS,
            topics=[(tp.topic, [(tp.partition, batch)])],
        )
        answer: Any = await self._client.send(node, request)
        ((_topic, ((_partition, code, offset, *_rest),)),) = answer.topics
        if code:
            raise kafka.for_code(code)
        return int(offset)
