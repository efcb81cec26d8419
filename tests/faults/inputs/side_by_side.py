"""Plays cases side by side, each in a house of its own: most of their time is waiting."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, TypeVar

from tests.brokers.fixtures import fresh_prefix
from tests.faults.inputs.house import open_house

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import pytest

    from tests.faults.inputs.house import House
    from worker.sandbox.local_kafka import LocalKafka

R = TypeVar("R")


class Named(Protocol):
    """A case."""

    @property
    def name(self) -> str:
        """Its name, which no other case has."""
        ...


C = TypeVar("C", bound=Named)


def play_side_by_side(
    cases: Sequence[C],
    play: Callable[[C, House], Awaitable[R]],
    *,
    kafka: LocalKafka,
    directories: pytest.TempPathFactory,
) -> dict[str, R | BaseException]:
    """Return what came of each case, by name; of one that failed its error."""

    async def play_one(case: C) -> R:
        async with open_house(
            directories.mktemp("house"),
            bootstrap_servers=kafka.bootstrap_servers,
            users_servers=kafka.users_bootstrap_servers,
            prefix=fresh_prefix(),
        ) as house:
            return await play(case, house)

    async def play_all() -> list[R | BaseException]:
        return await asyncio.gather(*(play_one(case) for case in cases), return_exceptions=True)

    return dict(zip((case.name for case in cases), asyncio.run(play_all()), strict=True))


def came_of(played: dict[str, R | BaseException], case: Named) -> R:
    """Return what came of a case, or raise why it failed."""
    found = played[case.name]
    if isinstance(found, BaseException):
        raise found
    return found
