"""What upstream sends to a stage: a plan of records from a seed, of a number or without an end."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, Final

import orjson

from contracts.requests import REBINDING_REQUESTED, UNBINDING_REQUESTED
from contracts.topics import LogicalTopic, partition_of
from contracts.wire import rfc3339
from tests.faults.records import Planned, hold, notice, release, upstream_headers
from tests.faults.sending import send

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from random import Random

__all__ = ["REACH_MS", "WORDS", "Load", "Planned", "send"]

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
REACH_MS: Final = 30_000
"""Repetitions, second requests and notices speak of nothing that was asked for longer ago."""
_SLOW_MS: Final = (20, 200)
_JUNK: Final = (b"", b"\xff\xfe", b"[]", b"{}", b'{"bindingId":1}', b"not JSON")
_IDS: Final = (1, 2, 3)
_PACES: Final = ((6, 1.0, (4_000, 12_000)), (2, 4.0, (500, 2_000)), (2, 0.1, (1_000, 4_000)))
"""How often, how fast and for how long (ms): at the rate asked for, in a burst, almost not at all."""
_EXPIRE_MS: Final = (-1_000, 300, 2_000, 5_000, 10_000)
_HOLD_MS: Final = (2_000, 8_000)
_SCOPES: Final[tuple[dict[str, Any], ...]] = (
    {"step": "consult"},
    {"step": "cancel_token"},
    {"counterpart": "tokens"},
    {"authClientId": "client-2"},
    {"referenceMerchantId": "merchant-3"},
    {"all": True},
)

Deed = tuple[float, "Callable[[int], None]"]


@dataclass(slots=True)
class Load:
    """Plans records; knows what it has planned, to repeat it and to send a second request for it."""

    random: Random
    partitions: int
    begins_at: int
    words: dict[str, int] = field(default_factory=lambda: dict(WORDS))
    full: bool = False
    """With notices, holds, rebindings and requests that expire; without, all requests may take their time."""
    tokens: list[str] = field(default_factory=list)
    planned: list[Planned] = field(default_factory=list)
    _number: int = 0
    _requests: deque[tuple[Planned, dict[str, Any]]] = field(default_factory=lambda: deque(maxlen=200))

    def plan(self, count: int, *, over_ms: int) -> Sequence[Planned]:
        """Plan this many requests, evenly over the time, and what goes with them."""
        deeds, weights = self._deeds()
        begun = self._asked()
        while (number := self._asked() - begun) < count:
            (deed,) = self.random.choices(deeds, weights)
            deed(number * over_ms // count)
        self.planned.sort(key=lambda record: record.after_ms)
        return self.planned

    def endless(self, rate: float) -> Iterator[Planned]:
        """Yield records for ever, about `rate` a second, in bursts and quiet times; none of them is kept."""
        deeds, weights = self._deeds()
        at_ms = until_ms = 0.0
        factor = 1.0
        heap: list[tuple[int, int, Planned]] = []
        while True:
            if at_ms >= until_ms:
                ((_, factor, lengths),) = self.random.choices(_PACES, [weight for weight, _, _ in _PACES])
                until_ms = at_ms + self.random.uniform(*lengths)
            at_ms += self.random.expovariate(rate * factor / 1000)
            (deed,) = self.random.choices(deeds, weights)
            deed(int(at_ms))
            for record in self.planned:
                self._number += 1
                heappush(heap, (record.after_ms, self._number, record))
            self.planned.clear()
            self.tokens.clear()
            while heap and heap[0][0] <= at_ms:
                yield heappop(heap)[2]

    def add(self, word: str, *, after_ms: int = 0, slow_ms: int | None = None) -> str:
        """Plan one request for a new binding, its token with this word; return the token."""
        token = self._token(word, slow_ms=slow_ms)
        self._request(after_ms, self._data(self._new("binding"), token))
        return token

    def _deeds(self) -> tuple[list[Callable[[int], None]], list[float]]:
        always: list[Deed] = [
            (70, self._fresh),
            (6, self._repeat),
            (5, self._join),
            (6, self._second_token),
            (6, self._astray),
            (3, self._junk),
            (3, self._invalid),
        ]
        others: list[Deed] = [
            (5, self._expiring),
            (4, self._notice_late),
            (2, self._notice_early),
            (1, self._notice_of_nothing),
            (0.5, self._notice_unreadable),
            (0.5, self._rebinding),
            (0.5, self._hold),
        ]
        chosen = [*always, *(others if self.full else ())]
        return [deed for _, deed in chosen], [weight for weight, _ in chosen]

    # --- requests ----------------------------------------------------------------

    def _fresh(self, after_ms: int) -> None:
        self.add(self._word(), after_ms=after_ms)

    def _repeat(self, after_ms: int) -> None:
        """Send the same event again, now and then in another partition."""
        found = self._recent(after_ms, 200)
        if found is None:
            return self._fresh(after_ms)
        old, _ = found
        partition = old.partition if self.random.random() < 0.7 else self.random.randrange(self.partitions)
        self.planned.append(replace(old, after_ms=after_ms, partition=partition))
        return None

    def _join(self, after_ms: int) -> None:
        """Ask again for the same token."""
        found = self._recent(after_ms, 30)
        if found is None:
            return self._fresh(after_ms)
        self._request(after_ms, found[1] | {"requestedAt": rfc3339(self.begins_at + after_ms)})
        return None

    def _second_token(self, after_ms: int) -> None:
        """Ask for another token of the same binding: it queues behind the first."""
        found = self._recent(after_ms, 30)
        if found is None:
            return self._fresh(after_ms)
        self._request(after_ms, self._data(found[1]["bindingId"], self._token("allow")))
        return None

    def _astray(self, after_ms: int) -> None:
        """Ask in another partition than the binding's."""
        data = self._data(self._new("binding"), self._token("allow"))
        right = partition_of(data["bindingId"], self.partitions)
        self._request(after_ms, data, partition=(right + 1) % self.partitions)

    def _expiring(self, after_ms: int) -> None:
        """Ask for something that must be permitted soon, or is too late already."""
        data = self._data(self._new("binding"), self._token(self._word()))
        ends_at = self.begins_at + after_ms + self.random.choice(_EXPIRE_MS)
        self._request(after_ms, data | {"expiresAt": rfc3339(ends_at)})

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
        data = self._data(self._new("binding"), self._token("allow"))
        if self.random.random() < 0.5:
            data["requestedAt"] = "yesterday"
        else:
            del data["authClientId"]
        self._send(after_ms, data, self._headers(after_ms))

    def _rebinding(self, after_ms: int) -> None:
        """Ask for a new binding, which no counterpart here can offer."""
        data = {
            "bindingId": self._new("binding"),
            "customerBelongsTo": "ALIPAY_HK",
            "authRedirectUrl": "https://shop.example/back",
            "scopes": ["AGREEMENT_PAY"],
            "authState": "state-1",
            "terminalType": "WEB",
        }
        self._send(after_ms, data, self._headers(after_ms, event_type=REBINDING_REQUESTED))

    # --- notices and holds -------------------------------------------------------

    def _notice_late(self, after_ms: int) -> None:
        """Send evidence for what was asked for: its saga is under way, waits, is parked or has ended."""
        found = self._recent(after_ms, 100)
        if found is None:
            return self._fresh(after_ms)
        self._notice(after_ms + self.random.choice((0, 100, 1_000, 3_000)), found[1])
        return None

    def _notice_early(self, after_ms: int) -> None:
        """Send evidence for what is asked for a little later."""
        data = self._data(self._new("binding"), self._token(self._word()))
        self._notice(after_ms, data)
        self._request(after_ms + self.random.choice((50, 500, 3_000)), data)

    def _notice_of_nothing(self, after_ms: int) -> None:
        """Send evidence for a token that nobody ever asks for."""
        self._notice(after_ms, self._data(self._new("binding"), self._token("allow")))

    def _notice_unreadable(self, after_ms: int) -> None:
        """Send a record that is no notice."""
        self._append(
            after_ms,
            partition=self.random.randrange(self.partitions),
            key=None,
            value=self.random.choice(_JUNK),
            headers=self._headers(after_ms),
            topic=LogicalTopic.NOTICES,
        )

    def _notice(self, after_ms: int, data: dict[str, Any]) -> None:
        """Plan a notice, now and then twice, in the wrong partition, or without a binding."""
        named = self.random.random() < 0.6
        astray = self.random.random() < 0.2 or not named
        right = partition_of(data["bindingId"], self.partitions)
        told = notice(
            self._new("notice"),
            token=data["accessToken"],
            binding_id=data["bindingId"] if named else None,
            partition=self.random.randrange(self.partitions) if astray else right,
            at=self.begins_at + after_ms,
            after_ms=after_ms,
        )
        self.planned.append(told)
        if self.random.random() < 0.25:
            self.planned.append(replace(told, after_ms=after_ms + self.random.choice((0, 400))))

    def _hold(self, after_ms: int) -> None:
        """Place a hold that is released or expires, now and then one that is none."""
        hold_id = self._new("hold")
        lasts_ms = self.random.randint(*_HOLD_MS)
        scope = self.random.choice(_SCOPES)
        at = self.begins_at + after_ms
        placed = hold(hold_id, scope=scope, until=at + lasts_ms, at=at, after_ms=after_ms)
        if self.random.random() < 0.15:
            placed = replace(placed, value=b"no hold")
        self.planned.append(placed)
        if self.random.random() < 0.5:
            self.planned.append(release(hold_id, after_ms=after_ms + lasts_ms // 2))

    # --- parts -------------------------------------------------------------------

    def _asked(self) -> int:
        return sum(record.topic is LogicalTopic.REQUESTS for record in self.planned)

    def _new(self, what: str) -> str:
        self._number += 1
        return f"{what}-{self._number}"

    def _word(self) -> str:
        (word,) = self.random.choices(list(self.words), list(self.words.values()))
        return word

    def _recent(self, after_ms: int, count: int) -> tuple[Planned, dict[str, Any]] | None:
        """Return one of the last requests, if there is one within reach."""
        found = [entry for entry in self._requests if entry[0].after_ms >= after_ms - REACH_MS][-count:]
        return self.random.choice(found) if found else None

    def _token(self, word: str, *, slow_ms: int | None = None) -> str:
        slow_ms = self.random.randint(*_SLOW_MS) if slow_ms is None else slow_ms
        token = f"demo.{word}.slow{slow_ms}.t{self.random.getrandbits(64):016x}"
        self.tokens.append(token)
        return token

    def _data(self, binding_id: str, token: str) -> dict[str, Any]:
        client, merchant = self.random.choices(_IDS, k=2) if self.full else (1, 1)
        return {
            "bindingId": binding_id,
            "initiator": "wallet",
            "requestedAt": rfc3339(self.begins_at),
            "authClientId": f"client-{client}",
            "referenceMerchantId": f"merchant-{merchant}",
            "accessToken": token,
        }

    def _headers(
        self, after_ms: int, *, event_type: str = UNBINDING_REQUESTED
    ) -> tuple[tuple[str, bytes], ...]:
        return upstream_headers(self._new("event"), event_type=event_type, at=self.begins_at + after_ms)

    def _request(self, after_ms: int, data: dict[str, Any], *, partition: int | None = None) -> None:
        self._send(after_ms, data, self._headers(after_ms), partition=partition)
        self._requests.append((self.planned[-1], data))

    def _send(
        self,
        after_ms: int,
        data: dict[str, Any],
        headers: tuple[tuple[str, bytes], ...],
        *,
        partition: int | None = None,
    ) -> None:
        if partition is None:
            partition = partition_of(data["bindingId"], self.partitions)
        self._append(
            after_ms,
            partition=partition,
            key=data["bindingId"].encode(),
            value=orjson.dumps(data),
            headers=headers,
        )

    def _append(
        self,
        after_ms: int,
        *,
        partition: int,
        key: bytes | None,
        value: bytes,
        headers: tuple[tuple[str, bytes], ...],
        topic: LogicalTopic = LogicalTopic.REQUESTS,
    ) -> None:
        self.planned.append(
            Planned(
                after_ms=after_ms, partition=partition, key=key, value=value, headers=headers, topic=topic
            )
        )
