"""What upstream sends in a scenario: requests of every kind, repetitions, floods, and bad records."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from contracts.dead_letters import FORWARDED_FROM_HEADER, LetterHeaders
from contracts.requests import REBINDING_REQUESTED, UNBINDING_REQUESTED
from contracts.states import Step
from contracts.topics import LogicalTopic, partition_of, topic_name
from contracts.wire import rfc3339
from tests.simulation.post import Sent, token_of
from tests.simulation.process import POISON
from tests.simulation.setting import MINUTE_MS, RECORD_BYTES, UNCONSULTED_PSP, UPSTREAM_KEY
from tests.simulation.subject import key_of
from worker.saga.plan import Edition
from worker.sealing.key_ring import KeyRing
from worker.sealing.seal import Sealer
from worker.shard.vault import TOKEN_AAD

if TYPE_CHECKING:
    from tests.simulation.post import Post

FLOOD_MOST = 14
"""More than may join one saga, and more than may queue in one lane."""


@dataclass(slots=True)
class Upstream:
    """Sends requests; a forgetful world is never asked for the same thing twice."""

    post: Post

    # --- requests --------------------------------------------------------------

    def request(self) -> None:
        """Send a request to unbind, with one or more targets, mostly in its own partition."""
        self._send(self._asked(self.post.random.choice(self.post.bindings)), UNBINDING_REQUESTED)

    def flood(self) -> None:
        """Send many requests of one binding at once: they join one saga, or queue until no more fit."""
        random = self.post.random
        binding = random.choice(self.post.bindings)
        joins = random.random() < 0.5 and not self.post.world.setting.forgetful
        first = self._asked(binding)
        for _ in range(random.randint(8, FLOOD_MOST)):
            data = first | {"requestedAt": rfc3339(self.post.world.now())} if joins else self._asked(binding)
            if "accessToken" in data and not joins:
                data["accessToken"] = self._secret(token_of(self.post.next_id("flood"), 0))
            self._send(data, UNBINDING_REQUESTED)

    def rebind(self) -> None:
        """Send a request to bind again."""
        random, now = self.post.random, self.post.world.now()
        parked = self._parked() if random.random() < 0.5 else []
        data = {
            "bindingId": random.choice(parked or self.post.bindings),
            "customerBelongsTo": "ALIPAY_HK",
            "authRedirectUrl": "https://merchant.example/return",
            "scopes": ["AGREEMENT_PAY"],
            "authState": "state",
            "terminalType": "WEB",
        }
        if random.random() < 0.3:
            data["expiresAt"] = rfc3339(now + random.choice((0, 1)) * MINUTE_MS)
        self._send(data, REBINDING_REQUESTED)

    def bound_again(self) -> None:
        """Let the user bind an agreement and an account again, under their old names."""
        side = self.post.world.side
        again = sorted(target for target in side.dead if not target.startswith("token:"))
        if again:
            target = self.post.random.choice(again)
            side.dead.discard(target)
            self.post.world.note(f"{target} is bound again")

    def repeat(self) -> None:
        """Send the same event again, in the same or in another partition."""
        old, world = self.post.some_sent(), self.post.world
        if old is None or world.setting.forgetful:
            return
        partition = old.partition
        if self.post.random.random() < 0.3:
            partition = self.post.random.randrange(world.partitions)
        world.note(f"upstream repeats {dict(old.headers)['ce_id'].decode()} in partition {partition}")
        self.post.append(LogicalTopic.REQUESTS, old.data, old.headers, partition=partition)

    def join(self) -> None:
        """Send another request with the targets of an earlier one."""
        old = self.post.some_sent()
        if old is not None and "initiator" in old.data and not self.post.world.setting.forgetful:
            self._send(old.data | {"requestedAt": rfc3339(self.post.world.now())}, UNBINDING_REQUESTED)

    # --- bad records ---------------------------------------------------------------

    def junk(self) -> None:
        """Send a record that is no event."""
        random = self.post.random
        value = random.choice((None, b"", b"\xff\xfe", b"[]", b"{}", b'{"bindingId":1}', b"{" * 99))
        headers = random.choice(
            (
                [],
                [("ce_id", b"\xff"), ("ce_specversion", b"1.0")],
                [(FORWARDED_FROM_HEADER, b"unbinding.requests/0/0")],
                [("x\ufffd", b"\x00" * 50)],
                self.post.headers(UNBINDING_REQUESTED),
            )
        )
        partition = random.randrange(self.post.world.partitions)
        self.post.append(LogicalTopic.REQUESTS, value, headers, partition=partition)
        self.post.world.note(f"upstream sends junk to partition {partition}")

    def invalid(self) -> None:
        """Send a request that breaks its contract, or that no step can end."""
        random, now = self.post.random, self.post.world.now()
        data: dict[str, Any] = {
            "bindingId": random.choice(self.post.bindings),
            "initiator": "wallet",
            "requestedAt": random.choice((rfc3339(now), "yesterday", 1)),
        }
        if random.random() < 0.5:
            data["agreement"] = self._agreement("agreement-x", activated_via="merchant")
        self._send(data, UNBINDING_REQUESTED)

    def large(self) -> None:
        """Send a request that is larger than is copied, or nearly so."""
        data = self._asked(self.post.random.choice(self.post.bindings), kinds=("token",))
        data["passThroughInfo"] = "x" * (RECORD_BYTES - self.post.random.choice((0, 3_500)))
        self._send(data, UNBINDING_REQUESTED)

    def poison(self) -> None:
        """Send a request at which a mistake of ours raises."""
        data = self._asked(self.post.random.choice(self.post.bindings), kinds=("token",))
        self._send(data | {"referenceMerchantId": POISON}, UNBINDING_REQUESTED)

    # --- inside ----------------------------------------------------------------------------

    def _parked(self) -> list[str]:
        """Return the bindings of the letters that stand."""
        cluster, name = self.post.world.cluster, topic_name(LogicalTopic.DEAD_LETTERS)
        latest = {
            stored.key: stored
            for partition in range(self.post.world.partitions)
            for stored in cluster.committed(name, partition)
        }
        letters = [LetterHeaders.from_headers(stored.headers) for stored in latest.values() if stored.value]
        return sorted({letter.binding_id for letter in letters if letter.binding_id is not None})

    def _asked(self, binding: str, *, kinds: tuple[str, ...] | None = None) -> dict[str, Any]:
        """Return a request for what the profile can end, now and then for what it cannot."""
        random, world = self.post.random, self.post.world
        data: dict[str, Any] = {
            "bindingId": binding,
            "initiator": random.choice(("wallet", "wallet", "merchant")),
            "requestedAt": rfc3339(world.now() - random.choice((0, 0, 0, 1, 60)) * MINUTE_MS),
        }
        kinds = kinds or self._kinds()
        if "token" in kinds:
            data |= self._token_fields(binding, data["initiator"])
        if "agreement" in kinds:
            name = self.post.next_id("agreement") if world.setting.forgetful else f"agreement-{binding}"
            via = random.choice(("bills_and_utilities", "bills_and_utilities", "merchant"))
            data["agreement"] = self._agreement(name, activated_via=via)
        if "account" in kinds:
            name = self.post.next_id("account") if world.setting.forgetful else f"account-{binding}"
            data["merchantAccount"] = {
                "merchantTag": "tag",
                "merchantAccountId": "m",
                "subMerchantId": "s",
                "accountId": name,
                "openId": "o",
                "authSiteUserId": "u",
            }
        if random.random() < 0.15:
            data["expiresAt"] = rfc3339(world.now() + random.choice((0, 1, 5, 60)) * MINUTE_MS)
        return data

    def _kinds(self) -> tuple[str, ...]:
        random, steps = self.post.random, self.post.world.setting.steps
        ends = {
            "token": Step.CANCEL_TOKEN,
            "agreement": Step.CANCEL_AGREEMENT,
            "account": Step.NOTIFY_MERCHANT,
        }
        able = [kind for kind, step in ends.items() if step in steps or random.random() < 0.05]
        if not able or random.random() < 0.2:
            return tuple(able) or ("token",)
        # Tokens are most of what there is to end.
        return (able[0],) if random.random() < 0.6 else (random.choice(able),)

    def _token_fields(self, binding: str, initiator: str) -> dict[str, Any]:
        random, setting = self.post.random, self.post.world.setting
        token = token_of(binding, random.randrange(2))
        if setting.forgetful:
            token = token_of(self.post.next_id("own"), 0)
        fields: dict[str, Any] = {
            "authClientId": "client-1",
            "referenceMerchantId": "merchant-1",
            "accessToken": self._secret(token),
        }
        asked = Step.CONSULT in setting.steps and setting.consult
        if setting.unconsulted_psps and random.random() < 0.5:
            fields |= {"pspId": UNCONSULTED_PSP, "acquirerId": "acquirer-1"}
        elif (not asked and setting.edition is Edition.WALLET and random.random() < 0.9) or (
            initiator == "merchant"
        ):
            fields |= {"pspId": "psp-1", "acquirerId": "acquirer-1"}
        return fields

    def _secret(self, token: str) -> str:
        self.post.secrets.add(token)
        return token

    @staticmethod
    def _agreement(name: str, *, activated_via: str) -> dict[str, str]:
        return {
            "authMerchantId": "auth-1",
            "merchantAgreementId": name[:32],
            "activatedVia": activated_via,
        }

    def _send(self, data: dict[str, Any], kind: str) -> None:
        random, world = self.post.random, self.post.world
        headers = self.post.headers(kind)
        partition = partition_of(data["bindingId"], world.partitions)
        if random.random() < 0.1:
            partition = random.randrange(world.partitions)
        wants = _wants(data)
        if "accessToken" in data and random.random() < 0.1:
            data = data | {"accessToken": _sealed(data["accessToken"], key_id=UPSTREAM_KEY)}
        name = dict(headers)["ce_id"].decode()
        self.post.sent[name] = Sent(data, headers, partition, wants)
        verb = "unbind" if kind == UNBINDING_REQUESTED else "bind again"
        told = (
            f"upstream asks to {verb} {data['bindingId']}: {name}, {', '.join(sorted(wants)) or 'no target'}"
        )
        world.note(f"{told}, in partition {partition}")
        self.post.append(LogicalTopic.REQUESTS, data, headers, partition=partition)


def _wants(data: dict[str, Any]) -> frozenset[str]:
    """Name what a request wants dead: an agreement of a wallet's request only if it is for bills."""
    found = set()
    if "accessToken" in data:
        found.add(f"token:{data['accessToken']}")
    agreement = data.get("agreement")
    if agreement is not None and (
        data["initiator"] == "merchant" or agreement["activatedVia"] == "bills_and_utilities"
    ):
        found.add(f"agreement:{agreement['authMerchantId']}/{agreement['merchantAgreementId']}")
    if "merchantAccount" in data:
        found.add(f"account:{data['merchantAccount']['accountId']}")
    return frozenset(found)


def _sealed(token: str, *, key_id: str) -> str:
    """Seal a token as an upstream does that does not want it read on the way."""
    sealer = Sealer(KeyRing({key_id: key_of(key_id)}, active=key_id))
    value = sealer.seal(token.encode(), aad=TOKEN_AAD).value
    return f"sealed:{key_id}:{b64encode(value).decode()}"
