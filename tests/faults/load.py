"""What upstream sends to a stage: a plan of records from a seed, and its sending."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiokafka import AIOKafkaProducer

from contracts.cloudevents import event_headers
from contracts.requests import UNBINDING_REQUESTED
from contracts.topics import partition_of
from contracts.wire import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

WORDS: Final[dict[str, int]] = {
    "allow": 40,
    "refuse": 6,
    "consult-unknown1": 6,
    "unknown3": 8,
    "cancel-unknown4": 8,
    "cancel-lost1": 7,
    "cancel-done-unknown2": 7,
    "cancel-done-reset1": 4,
    "consult-reset1": 3,
    "consult-fail": 2,
    "cancel-fail": 3,
    "consult-hang1": 2,
    "cancel-done-hang1": 2,
    "cancel-badsig1": 2,
    "consult-unknown": 1,
    "cancel-unknown": 1,
}
"""What the payment side does with a token, and how often."""
_SLOW_MS: Final = (20, 200)
_JUNK: Final = (b"", b"\xff\xfe", b"[]", b"{}", b'{"bindingId":1}', b"not JSON")


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One record to send, `after_ms` from the beginning."""

    after_ms: int
    partition: int
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes], ...]


@dataclass(slots=True)
class Load:
    """Plans records; knows what it has planned, to repeat it and to send a second request for it."""

    random: Random
    partitions: int
    begins_at: int
    words: dict[str, int] = field(default_factory=lambda: dict(WORDS))
    tokens: list[str] = field(default_factory=list)
    planned: list[Planned] = field(default_factory=list)
    _requests: list[tuple[Planned, dict[str, Any]]] = field(default_factory=list)

    def plan(self, count: int, *, over_ms: int) -> Sequence[Planned]:
        """Plan this many records, evenly over the time."""
        deeds: list[tuple[int, Callable[[int], None]]] = [
            (70, self._fresh),
            (6, self._repeat),
            (5, self._join),
            (6, self._second_token),
            (6, self._astray),
            (3, self._junk),
            (3, self._invalid),
        ]
        for number in range(count):
            after_ms = number * over_ms // count
            (deed,) = self.random.choices([deed for _, deed in deeds], [weight for weight, _ in deeds])
            deed(after_ms)
        return self.planned

    def add(self, word: str, *, after_ms: int = 0, slow_ms: int | None = None) -> str:
        """Plan one request for a new binding, its token with this word; return the token."""
        token = self._token(word, slow_ms=slow_ms)
        self._request(after_ms, self._data(f"binding-{len(self.planned)}", token))
        return token

    def _fresh(self, after_ms: int) -> None:
        (word,) = self.random.choices(list(self.words), list(self.words.values()))
        self.add(word, after_ms=after_ms)

    def _repeat(self, after_ms: int) -> None:
        """Send the same event again, now and then in another partition."""
        if not self._requests:
            return self._fresh(after_ms)
        old, _ = self.random.choice(self._requests[-200:])
        partition = old.partition if self.random.random() < 0.7 else self.random.randrange(self.partitions)
        self._append(after_ms, partition=partition, key=old.key, value=old.value, headers=old.headers)
        return None

    def _join(self, after_ms: int) -> None:
        """Ask again for the same token."""
        if not self._requests:
            return self._fresh(after_ms)
        _, data = self.random.choice(self._requests[-30:])
        self._request(after_ms, data | {"requestedAt": rfc3339(self.begins_at + after_ms)})
        return None

    def _second_token(self, after_ms: int) -> None:
        """Ask for another token of the same binding: it queues behind the first."""
        if not self._requests:
            return self._fresh(after_ms)
        _, data = self.random.choice(self._requests[-30:])
        self._request(after_ms, self._data(data["bindingId"], self._token("allow")))
        return None

    def _astray(self, after_ms: int) -> None:
        """Ask in another partition than the binding's."""
        data = self._data(f"binding-{len(self.planned)}", self._token("allow"))
        right = partition_of(data["bindingId"], self.partitions)
        self._request(after_ms, data, partition=(right + 1) % self.partitions)

    def _junk(self, after_ms: int) -> None:
        """Send a record that is no event."""
        headers = self.random.choice(((), (("ce_id", b"\xff"),), self._headers(after_ms)))
        self._append(
            after_ms,
            partition=self.random.randrange(self.partitions),
            key=None,
            value=self.random.choice(_JUNK),
            headers=headers,
        )

    def _invalid(self, after_ms: int) -> None:
        """Send a request that breaks its contract."""
        data = self._data(f"binding-{len(self.planned)}", self._token("allow"))
        if self.random.random() < 0.5:
            data["requestedAt"] = "yesterday"
        else:
            del data["authClientId"]
        partition = partition_of(data["bindingId"], self.partitions)
        self._append(
            after_ms,
            partition=partition,
            key=data["bindingId"].encode(),
            value=orjson.dumps(data),
            headers=self._headers(after_ms),
        )

    def _token(self, word: str, *, slow_ms: int | None = None) -> str:
        slow_ms = self.random.randint(*_SLOW_MS) if slow_ms is None else slow_ms
        token = f"demo.{word}.slow{slow_ms}.t{self.random.getrandbits(64):016x}"
        self.tokens.append(token)
        return token

    def _data(self, binding_id: str, token: str) -> dict[str, Any]:
        return {
            "bindingId": binding_id,
            "initiator": "wallet",
            "requestedAt": rfc3339(self.begins_at),
            "authClientId": "client-1",
            "referenceMerchantId": "merchant-1",
            "accessToken": token,
        }

    def _headers(self, after_ms: int) -> tuple[tuple[str, bytes], ...]:
        return tuple(
            event_headers(
                event_id=f"event-{len(self.planned)}",
                source="/upstream",
                event_type=UNBINDING_REQUESTED,
                at=self.begins_at + after_ms,
            )
        )

    def _request(self, after_ms: int, data: dict[str, Any], *, partition: int | None = None) -> None:
        if partition is None:
            partition = partition_of(data["bindingId"], self.partitions)
        self._append(
            after_ms,
            partition=partition,
            key=data["bindingId"].encode(),
            value=orjson.dumps(data),
            headers=self._headers(after_ms),
        )
        self._requests.append((self.planned[-1], data))

    def _append(
        self,
        after_ms: int,
        *,
        partition: int,
        key: bytes | None,
        value: bytes,
        headers: tuple[tuple[str, bytes], ...],
    ) -> None:
        self.planned.append(
            Planned(after_ms=after_ms, partition=partition, key=key, value=value, headers=headers)
        )


async def send(planned: Sequence[Planned], *, bootstrap_servers: str, topic: str) -> int:
    """Send each record when its time has come, and wait until the broker has them all; return how many.

    Idempotent: what upstream hands over is in the log once, whatever hurts the broker.
    """
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers, enable_idempotence=True, linger_ms=0, retry_backoff_ms=100
    )
    await producer.start()
    loop = asyncio.get_running_loop()
    began = loop.time()
    under_way = []
    try:
        for record in planned:
            rest = began + record.after_ms / 1000 - loop.time()
            if rest > 0:
                await asyncio.sleep(rest)
            under_way.append(
                await producer.send(
                    topic,
                    key=record.key,
                    value=record.value,
                    headers=list(record.headers),
                    partition=record.partition,
                )
            )
        await asyncio.gather(*under_way)
    finally:
        await producer.stop()
    return len(under_way)
