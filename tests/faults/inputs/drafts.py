"""Requests as a test spoils them: a good one to begin with, its bytes, headers, key and time at hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

import orjson

from contracts.cloudevents import event_headers
from contracts.requests import UNBINDING_REQUESTED
from contracts.topics import partition_of
from contracts.wire import rfc3339
from tests.faults.inputs.batches import RawRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

SOURCE: Final = "/upstream"


def each(*deeds: Callable[[T], object]) -> Callable[[T], None]:
    """Return one deed that does all of these."""

    def do(draft: T) -> None:
        for deed in deeds:
            deed(draft)

    return do


@dataclass(slots=True, kw_only=True)
class Draft:
    """A good request that is about to be spoiled."""

    binding_id: str
    token: str
    event_id: str
    partition: int
    """Where the binding belongs."""
    at: int
    """The record's timestamp, ms since the Unix epoch."""
    topic: str
    data: dict[str, Any]
    headers: list[tuple[bytes, bytes | None]]
    key: bytes | None
    write: Callable[[Draft], bytes | None] = field(default=lambda draft: orjson.dumps(draft.data))
    """How the value is made of the data."""

    def header(self, name: str | bytes, content: bytes | None) -> None:
        """Set a header, or add one."""
        raw = name.encode() if isinstance(name, str) else name
        self.headers = [pair for pair in self.headers if pair[0] != raw]
        self.headers.append((raw, content))

    def value(self, content: bytes | None) -> None:
        """Have these bytes as the value."""
        self.write = lambda _draft: content

    def edit(self, change: Callable[[bytes], bytes]) -> None:
        """Change the bytes of the good value."""
        self.write = lambda draft: change(orjson.dumps(draft.data))

    def record(self) -> RawRecord:
        """Return the record."""
        return RawRecord(value=self.write(self), key=self.key, headers=tuple(self.headers), at=self.at)


class Drafting:
    """Makes good requests of distinct bindings and tokens, as many of a partition as are wanted."""

    def __init__(self, *, topic: str, partitions: int, at: int) -> None:
        self._topic = topic
        self._partitions = partitions
        self._at = at
        self._number = 0
        self.tokens: list[str] = []

    def draft(self, partition: int, *, word: str = "allow") -> Draft:
        """Return a good request whose binding belongs to the partition; `word`: how its token behaves."""
        binding_id = next(name for name in self._names() if partition_of(name, self._partitions) == partition)
        token = f"demo.{word}.slow0.bad{self._number:05}"
        self.tokens.append(token)
        event_id = f"event-{self._number}"
        headers = event_headers(event_id=event_id, source=SOURCE, event_type=UNBINDING_REQUESTED, at=self._at)
        return Draft(
            binding_id=binding_id,
            token=token,
            event_id=event_id,
            partition=partition,
            at=self._at,
            topic=self._topic,
            data={
                "bindingId": binding_id,
                "initiator": "wallet",
                "requestedAt": rfc3339(self._at),
                "authClientId": "client-1",
                "referenceMerchantId": "merchant-1",
                "accessToken": token,
            },
            headers=[(name.encode(), content) for name, content in headers],
            key=binding_id.encode(),
        )

    def _names(self) -> Iterator[str]:
        while True:
            self._number += 1
            yield f"binding-{self._number}"
