"""Moments that no code passes, because the bytes are between two machines; an event loop hears them.

The loop stands in for the worker's own, which is also an argument of the composition root. It looks at what
is written to each socket, and at what comes in: a process can die with its request in the kernel's hands.
"""

from __future__ import annotations

import asyncio
import re
import struct
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Any, Final

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class WireMoment(StrEnum):
    """A moment while a request is on its way."""

    FENCE_SENT = "fence_sent"
    """InitProducerId has left; its reply has not come."""
    BATCH_SENT = "batch_sent"
    """The first batch of the transaction has left for the broker; nothing is acknowledged."""
    END_SENT = "end_sent"
    """EndTxn has left; its reply has not come, so nobody here knows whether the broker has it."""
    END_ANSWERED = "end_answered"
    """The reply to EndTxn has reached this machine, so the broker has committed; nobody has read it."""
    CALL_SENT = "call_sent"
    """All bytes of a call have left; no byte of an answer has come."""
    LEASE_SENT = "lease_sent"
    """The group's commit has left; its reply has not come."""
    RECORD_ANSWERED = "record_answered"
    """The reply to a produce request has reached this machine; nobody has read it."""


class _Api(IntEnum):
    """Kafka's numbers of the requests that are listened for."""

    PRODUCE = 0
    OFFSET_COMMIT = 8
    INIT_PRODUCER_ID = 22
    END_TXN = 26


_SENT: Final = {
    _Api.PRODUCE: WireMoment.BATCH_SENT,
    _Api.OFFSET_COMMIT: WireMoment.LEASE_SENT,
    _Api.INIT_PRODUCER_ID: WireMoment.FENCE_SENT,
    _Api.END_TXN: WireMoment.END_SENT,
}
_ANSWERED: Final = {
    _Api.PRODUCE: WireMoment.RECORD_ANSWERED,
    _Api.END_TXN: WireMoment.END_ANSWERED,
}
_HEAD: Final = struct.Struct(">ihhih")
"""A Kafka request begins with its length, API, version, correlation id, and its client id's length."""
_PARTITION: Final = re.compile(rb"-(\d+)$")
_LENGTH: Final = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


class ListeningLoop(asyncio.SelectorEventLoop):
    """An event loop that tells of requests that have left, and of replies that have come."""

    def __init__(self, heard: Callable[[int | None, str], None]) -> None:
        """Take who hears: the partition, where a request names one, and the moment."""
        super().__init__()
        self._heard = heard

    @override
    async def create_connection(self, protocol_factory: Any, *args: Any, **kwargs: Any) -> Any:
        ear = _Ear(protocol_factory(), self._heard)
        await super().create_connection(lambda: ear, *args, **kwargs)
        return ear.transport, ear.inner


class _Ear(asyncio.Protocol):
    """Stands between a socket and the protocol that owns it."""

    def __init__(self, inner: Any, heard: Callable[[int | None, str], None]) -> None:
        self.inner = inner
        self.transport: _Mouth | None = None
        self._heard = heard
        self._asked: tuple[int | None, _Api] | None = None
        self._call = b""

    @override
    def connection_made(self, transport: Any) -> None:
        self.transport = _Mouth(transport, self)
        self.inner.connection_made(self.transport)

    @override
    def data_received(self, data: bytes) -> None:
        if self._asked is not None:
            (partition, api), self._asked = self._asked, None
            if api in _ANSWERED:
                self._heard(partition, _ANSWERED[api])
        self.inner.data_received(data)

    @override
    def eof_received(self) -> bool | None:
        kept: bool | None = self.inner.eof_received()
        return kept

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.inner.connection_lost(exc)

    @override
    def pause_writing(self) -> None:
        self.inner.pause_writing()

    @override
    def resume_writing(self) -> None:
        self.inner.resume_writing()

    def left(self, data: bytes) -> None:
        """Hear what was written, and is in the kernel's hands now."""
        if data.startswith(b"POST ") or self._call:
            self._call += data
            head, _, body = self._call.partition(b"\r\n\r\n")
            length = _LENGTH.search(head + b"\r\n")
            if length is not None and len(body) >= int(length[1]):
                self._call = b""
                self._heard(None, WireMoment.CALL_SENT)
        elif len(data) > _HEAD.size:
            self._request_left(data)

    def _request_left(self, data: bytes) -> None:
        length, api, _version, _correlation, name_length = _HEAD.unpack_from(data)
        if length != len(data) - 4 or api not in _SENT:
            return
        name = data[_HEAD.size : _HEAD.size + name_length]
        found = _PARTITION.search(name)
        self._asked = (None if found is None else int(found[1]), _Api(api))
        self._heard(self._asked[0], _SENT[_Api(api)])


class _Mouth:
    """A socket's transport: what is written through it is told once the kernel has it."""

    def __init__(self, inner: Any, ear: _Ear) -> None:
        self._inner = inner
        self._ear = ear

    def write(self, data: bytes) -> None:
        self._inner.write(data)
        if self._inner.get_write_buffer_size() == 0:
            self._ear.left(bytes(data))

    def writelines(self, lines: Iterable[bytes]) -> None:
        self.write(b"".join(lines))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
