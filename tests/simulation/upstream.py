"""What upstream and on-call send in a scenario: requests of every kind, bad records, notices, commands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from contracts.cloudevents import event_headers
from contracts.commands import DISCARD_REQUESTED, REPLAY_REQUESTED
from contracts.dead_letters import FORWARDED_FROM_HEADER, LetterHeaders
from contracts.notices import TOKEN_CANCELED
from contracts.requests import REBINDING_REQUESTED, UNBINDING_REQUESTED
from contracts.topics import LogicalTopic, partition_of, topic_name
from contracts.wire import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from tests.simulation.world import World

RECORD_BYTES = 8_000
"""Larger values are not copied, in a simulated worker."""
MINUTE_MS = 60_000


@dataclass(slots=True)
class Sent:
    """A request that was sent, to be repeated, joined or overtaken by a notice later."""

    data: dict[str, Any]
    headers: list[tuple[str, bytes]]
    partition: int


@dataclass(slots=True)
class Upstream:
    """Sends one random thing at a time; knows what it sent."""

    world: World
    random: Random
    bindings: tuple[str, ...]
    tokens: list[str] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    _count: int = 0

    def act(self) -> None:
        """Send something."""
        deeds: list[tuple[int, Callable[[], None]]] = [
            (12, self.request),
            (2, self.repeat),
            (3, self.join),
            (1, self.rebind),
            (2, self.junk),
            (1, self.invalid),
            (1, self.large),
            (2, self.notice),
            (3, self.command),
        ]
        self.random.choices([deed for _, deed in deeds], [weight for weight, _ in deeds])[0]()

    # --- requests --------------------------------------------------------------

    def request(self) -> None:
        """Send a request to unbind, with one or more targets, mostly in its own partition."""
        binding = self.random.choice(self.bindings)
        data: dict[str, Any] = {
            "bindingId": binding,
            "initiator": self.random.choice(("wallet", "wallet", "merchant")),
            "requestedAt": rfc3339(self.world.now()),
        }
        kinds: tuple[str, ...] = self.random.choice(
            (("token",),) * 4 + (("agreement",), ("account",), ("token", "account"))
        )
        if self.random.random() < 0.2:
            kinds = ("token", "agreement", "account")
        if "token" in kinds:
            data |= {
                "authClientId": "client-1",
                "referenceMerchantId": "merchant-1",
                "accessToken": self._token(binding),
            }
            if data["initiator"] == "merchant":
                data |= {"pspId": "psp-1", "acquirerId": "acquirer-1"}
        if "agreement" in kinds:
            data["agreement"] = {
                "authMerchantId": "auth-1",
                "merchantAgreementId": f"agreement-{binding}",
                "activatedVia": self.random.choice(("bills_and_utilities", "merchant")),
            }
        if "account" in kinds:
            data["merchantAccount"] = {
                "merchantTag": "tag",
                "merchantAccountId": "m",
                "subMerchantId": "s",
                "accountId": f"account-{binding}",
                "openId": "o",
                "authSiteUserId": "u",
            }
        if self.random.random() < 0.15:
            data["expiresAt"] = rfc3339(self.world.now() + self.random.choice((0, 1, 5, 60)) * MINUTE_MS)
        self._send(data, UNBINDING_REQUESTED)

    def rebind(self) -> None:
        """Send a request to bind again."""
        data = {
            "bindingId": self.random.choice(self.bindings),
            "customerBelongsTo": "ALIPAY_HK",
            "authRedirectUrl": "https://merchant.example/return",
            "scopes": ["AGREEMENT_PAY"],
            "authState": "state",
            "terminalType": "WEB",
        }
        self._send(data, REBINDING_REQUESTED)

    def repeat(self) -> None:
        """Send the same event again, in the same or in another partition."""
        if self.sent:
            old = self.random.choice(self.sent)
            partition = old.partition
            if self.random.random() < 0.3:
                partition = self.random.randrange(self.world.partitions)
            self._append(LogicalTopic.REQUESTS, old.data, old.headers, partition=partition)
            self.world.note(f"repeats {dict(old.headers)['ce_id'].decode()} in partition {partition}")

    def join(self) -> None:
        """Send another request with the targets of an earlier one."""
        if self.sent:
            old = self.random.choice(self.sent)
            if "initiator" in old.data:
                data = old.data | {"requestedAt": rfc3339(self.world.now())}
                self._send(data, UNBINDING_REQUESTED)

    # --- bad records ---------------------------------------------------------------

    def junk(self) -> None:
        """Send a record that is no event."""
        value = self.random.choice((None, b"", b"\xff\xfe", b"[]", b"{}", b'{"bindingId":1}', b"{" * 99))
        headers = self.random.choice(
            (
                [],
                [("ce_id", b"\xff"), ("ce_specversion", b"1.0")],
                [(FORWARDED_FROM_HEADER, b"unbinding.requests/0/0")],
                [("x\ufffd", b"\x00" * 50)],
                self._headers(UNBINDING_REQUESTED),
            )
        )
        partition = self.random.randrange(self.world.partitions)
        self._append(LogicalTopic.REQUESTS, value, headers, partition=partition)
        self.world.note(f"junk in partition {partition}")

    def invalid(self) -> None:
        """Send a request that breaks its contract, or that no step can end."""
        data: dict[str, Any] = {
            "bindingId": self.random.choice(self.bindings),
            "initiator": "wallet",
            "requestedAt": self.random.choice((rfc3339(self.world.now()), "yesterday", 1)),
        }
        if self.random.random() < 0.5:
            data["agreement"] = {
                "authMerchantId": "auth-1",
                "merchantAgreementId": "agreement-x",
                "activatedVia": "merchant",
            }
        self._send(data, UNBINDING_REQUESTED)

    def large(self) -> None:
        """Send a request that is larger than is copied."""
        binding = self.random.choice(self.bindings)
        data = {
            "bindingId": binding,
            "initiator": "wallet",
            "requestedAt": rfc3339(self.world.now()),
            "authClientId": "client-1",
            "referenceMerchantId": "merchant-1",
            "accessToken": self._token(binding),
            "passThroughInfo": "x" * RECORD_BYTES,
        }
        self._send(data, UNBINDING_REQUESTED)

    # --- notices and commands ----------------------------------------------------------

    def notice(self) -> None:
        """Send evidence for a token or an agreement, with or without its binding."""
        if not self.sent:
            return
        old = self.random.choice(self.sent).data
        data: dict[str, Any] = {"noticeId": f"notice-{self._next()}", "at": rfc3339(self.world.now())}
        if "accessToken" in old:
            data["accessToken"] = old["accessToken"]
            self.world.side.dead.add(f"token:{old['accessToken']}")
        elif "agreement" in old:
            ids = {name: old["agreement"][name] for name in ("authMerchantId", "merchantAgreementId")}
            data |= ids
            self.world.side.dead.add(f"agreement:{ids['authMerchantId']}/{ids['merchantAgreementId']}")
        else:
            return
        partition = self.random.randrange(self.world.partitions)
        if self.random.random() < 0.5:
            data["bindingId"] = old["bindingId"]
            if self.random.random() < 0.7:
                partition = partition_of(old["bindingId"], self.world.partitions)
        self._append(LogicalTopic.NOTICES, data, self._headers(TOKEN_CANCELED), partition=partition)
        self.world.note(f"a notice in partition {partition}, binding {data.get('bindingId')}")

    def command(self) -> None:
        """Send a replay or a discard of a letter that stands, now and then a stale or garbled one."""
        partition = self.random.randrange(self.world.partitions)
        letters = {}
        for stored in self.world.cluster.committed(topic_name(LogicalTopic.DEAD_LETTERS), partition):
            letters[stored.key] = stored if stored.value is not None else None
        standing = [stored for stored in letters.values() if stored is not None]
        if not standing:
            return
        letter = LetterHeaders.from_headers(self.random.choice(standing).headers)
        replay = self.random.random() < 0.7
        data = {
            "letter": letter.key,
            "expectedSequence": letter.sequence + (self.random.random() < 0.1),
            "planId": "plan-1",
            "by": "on-call",
            "why": "a test",
        }
        if replay:
            data["from"] = self.random.choice(("failed_step", "failed_step", "start"))
            data["force"] = self.random.random() < 0.1
        value: object = data if self.random.random() < 0.95 else b"junk"
        if self.random.random() < 0.05:
            partition = (partition + 1) % self.world.partitions
        kind = REPLAY_REQUESTED if replay else DISCARD_REQUESTED
        self._append(LogicalTopic.COMMANDS, value, self._headers(kind), partition=partition)
        self.world.note(f"{kind} of {letter.key} in partition {partition}")

    # --- inside ----------------------------------------------------------------------------

    def _token(self, binding: str) -> str:
        # A binding has few tokens: requests shall meet in them.
        token = f"secret-token-{binding}-{self.random.randrange(2)}"
        if token not in self.tokens:
            self.tokens.append(token)
        return token

    def _next(self) -> int:
        self._count += 1
        return self._count

    def _headers(self, kind: str) -> list[tuple[str, bytes]]:
        return event_headers(
            event_id=f"event-{self._next()}", source="upstream", event_type=kind, at=self.world.now()
        )

    def _send(self, data: dict[str, Any], kind: str) -> None:
        headers = self._headers(kind)
        partition = partition_of(data["bindingId"], self.world.partitions)
        if self.random.random() < 0.1:
            partition = self.random.randrange(self.world.partitions)
        self.sent.append(Sent(data, headers, partition))
        self._append(LogicalTopic.REQUESTS, data, headers, partition=partition)
        name = dict(headers)["ce_id"].decode()
        self.world.note(f"{kind} {name} of binding {data['bindingId']} in partition {partition}")

    def _append(
        self, topic: LogicalTopic, data: object, headers: list[tuple[str, bytes]], *, partition: int
    ) -> None:
        value = data if isinstance(data, bytes) or data is None else orjson.dumps(data)
        key = None
        if isinstance(data, dict) and isinstance(data.get("bindingId"), str):
            key = data["bindingId"].encode()
        self.world.send(topic, key=key, value=value, headers=headers, partition=partition)
