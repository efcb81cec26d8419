"""What all senders of a scenario share: whose turn it is, ids that stay when others fall silent, records."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

import orjson

from contracts.cloudevents import event_headers

if TYPE_CHECKING:
    from contracts.topics import LogicalTopic
    from tests.simulation.world import World


def token_of(owner: str, number: int) -> str:
    """Return a token; the end of no other text is like its end, so that it is quickly looked for."""
    return f"secret-{owner}-{number}-token"


@dataclass(slots=True)
class Sent:
    """A request that was sent, to be repeated, joined or overtaken by a notice later."""

    data: dict[str, Any]
    headers: list[tuple[str, bytes]]
    partition: int
    wants: frozenset[str]
    """What it wants dead, its token in clear even where it was sent sealed."""


@dataclass(slots=True)
class Post:
    """Sends records as outsiders do, one deed at a time; each deed has chance and ids of its own."""

    world: World
    bindings: tuple[str, ...]
    random: Random = field(default_factory=lambda: Random(0))  # noqa: S311 - a seed, no secret
    sent: dict[str, Sent] = field(default_factory=dict)
    """Requests by event id."""
    secrets: set[str] = field(default_factory=set)
    """Tokens that must not be readable anywhere."""
    _deed: str = ""
    _count: int = 0

    def begin(self, deed: str, random: Random) -> None:
        """Let a deed begin: what it sends does not depend on which other deeds are done."""
        self._deed, self._count, self.random = deed, 0, random

    def next_id(self, kind: str = "event") -> str:
        """Return an id that no other deed gives."""
        self._count += 1
        return f"{kind}-{self._deed}" if self._count == 1 else f"{kind}-{self._deed}-{self._count}"

    def headers(self, kind: str) -> list[tuple[str, bytes]]:
        """Return the headers of a new event."""
        return event_headers(event_id=self.next_id(), source="upstream", event_type=kind, at=self.world.now())

    def some_sent(self) -> Sent | None:
        """Return one of the requests that were sent, a recent one rather."""
        recent = list(self.sent.values())
        if not recent:
            return None
        return self.random.choice(recent[-4:] if self.random.random() < 0.5 else recent)

    def append(
        self, topic: LogicalTopic, data: object, headers: list[tuple[str, bytes]], *, partition: int
    ) -> None:
        """Append a record."""
        value = data if isinstance(data, bytes) or data is None else orjson.dumps(data)
        key = None
        if isinstance(data, dict) and isinstance(data.get("bindingId"), str):
            key = data["bindingId"].encode()
        self.world.send(topic, key=key, value=value, headers=headers, partition=partition)
