"""Asks a broker over a bare socket which brokers its cluster has: the proof that it is ready.

One Metadata request, version 1, as in the Kafka protocol guide. A broker that has started but is
still fenced by its controller answers with a list that lacks it, so an open port alone proves nothing.
"""

import asyncio
import struct

_METADATA, _VERSION, _CORRELATION = 3, 1, 1
_CLIENT = b"probe"
_LONGEST_ANSWER = 1 << 20


async def registered_brokers(*, host: str, port: int, timeout_ms: int) -> frozenset[int]:
    """Return the ids of the brokers that may serve; empty where nothing answers within `timeout_ms`."""
    try:
        async with asyncio.timeout(timeout_ms / 1000):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(metadata_request())
                await writer.drain()
                (size,) = struct.unpack(">i", await reader.readexactly(4))
                if not 0 < size <= _LONGEST_ANSWER:
                    return frozenset()
                return broker_ids(await reader.readexactly(size))
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError, struct.error):
        return frozenset()  # not ready: the caller asks again until its own bound


def metadata_request() -> bytes:
    """Return a framed Metadata request that asks for no topic at all."""
    body = struct.pack(">hhih", _METADATA, _VERSION, _CORRELATION, len(_CLIENT)) + _CLIENT
    body += struct.pack(">i", 0)
    return struct.pack(">i", len(body)) + body


def broker_ids(answer: bytes) -> frozenset[int]:
    """Return the node ids in a Metadata answer (version 1, unframed); `struct.error` if it is short."""
    _, count = struct.unpack_from(">ii", answer, 0)
    at, ids = 8, set[int]()
    for _ in range(count):
        node, host_length = struct.unpack_from(">ih", answer, at)
        at += 6 + host_length + 4
        (rack_length,) = struct.unpack_from(">h", answer, at)
        at += 2 + max(rack_length, 0)
        ids.add(node)
    return frozenset(ids)
