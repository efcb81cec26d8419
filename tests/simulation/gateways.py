"""What gateways hand on in a scenario: notices that something is dead, early, late, twice, or garbled."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from contracts.dead_letters import BROADCAST_FROM_HEADER
from contracts.notices import TOKEN_CANCELED
from contracts.topics import LogicalTopic, partition_of
from contracts.wire import rfc3339
from tests.simulation.post import token_of
from tests.simulation.setting import MINUTE_MS, RECORD_BYTES
from tests.simulation.subject import vault_of

if TYPE_CHECKING:
    from tests.simulation.post import Post


@dataclass(slots=True)
class Gateways:
    """Sends notices; most of them are true."""

    post: Post
    _notices: list[tuple[dict[str, Any], list[tuple[str, bytes]]]] = field(default_factory=list)

    def notice(self) -> None:
        """Send evidence for what a request wants dead, with or without its binding."""
        old = self.post.some_sent()
        wants = sorted(target for target in (() if old is None else old.wants) if "account:" not in target)
        if old is not None and wants:
            self._tell(self.post.random.choice(wants), binding=old.data["bindingId"])

    def early_notice(self) -> None:
        """Send evidence for a token that no request may have named yet."""
        if self.post.world.setting.forgetful:
            return
        binding = self.post.random.choice(self.post.bindings)
        token = token_of(binding, self.post.random.randrange(2))
        self.post.secrets.add(token)
        self._tell(f"token:{token}", binding=binding)

    def repeat(self) -> None:
        """Send a notice again, perhaps elsewhere."""
        if self._notices:
            data, headers = self.post.random.choice(self._notices)
            partition = self.post.random.randrange(self.post.world.partitions)
            self.post.append(LogicalTopic.NOTICES, data, headers, partition=partition)
            self.post.world.note(f"a gateway repeats {data['noticeId']} in partition {partition}")

    def junk(self) -> None:
        """Send what is no notice, or one that breaks its contract, or a forged or huge one."""
        random = self.post.random
        value: object = random.choice(
            (
                None,
                b"junk",
                {"noticeId": "n", "at": "yesterday"},
                {"noticeId": "n", "at": rfc3339(self.post.world.now()), "tokenFingerprint": "prints-1:00"},
                b"x" * (RECORD_BYTES + 1),
            )
        )
        headers = self.post.headers(TOKEN_CANCELED)
        if random.random() < 0.5:
            headers = [*headers, (BROADCAST_FROM_HEADER, b"unbinding.notices/1/0")]
        partition = random.randrange(self.post.world.partitions)
        self.post.append(LogicalTopic.NOTICES, value, headers, partition=partition)
        self.post.world.note(f"a gateway sends junk to partition {partition}")

    def _tell(self, target: str, *, binding: str) -> None:
        post, random, world = self.post, self.post.random, self.post.world
        late = random.choice((0, 0, 1, 90)) * MINUTE_MS
        data: dict[str, Any] = {"noticeId": post.next_id("notice"), "at": rfc3339(world.now() - late)}
        kind, _, name = target.partition(":")
        if kind == "token":
            world.side.dead.add(target)
            if random.random() < 0.2:
                data["tokenFingerprint"] = vault_of(world.setting.keys).fingerprint(name)
            else:
                data["accessToken"] = name
        else:
            if not late:
                world.side.dead.add(target)
            data["authMerchantId"], _, data["merchantAgreementId"] = name.partition("/")
        partition = random.randrange(world.partitions)
        if random.random() < 0.6:
            data["bindingId"] = binding
            if random.random() < 0.7:
                partition = partition_of(binding, world.partitions)
        headers = post.headers(TOKEN_CANCELED)
        self._notices.append((data, headers))
        post.append(LogicalTopic.NOTICES, data, headers, partition=partition)
        told = f"{target} of {data.get('bindingId', 'no binding')}, {late // MINUTE_MS} minutes late"
        world.note(f"a gateway tells {data['noticeId']} in partition {partition}: {told}")
