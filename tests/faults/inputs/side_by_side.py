"""Plays cases side by side, each in a house of its own: most of their time is waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from tests.brokers.fixtures import fresh_prefix
from tests.faults.inputs.house import House, open_house

if TYPE_CHECKING:
    import pytest

    from worker.sandbox.local_kafka import LocalKafka

Play: TypeAlias = Callable[[House], Awaitable[None]]
"""What a test does in a house; it raises what is wrong."""
Played: TypeAlias = Mapping[str, BaseException | None]
"""What came of each case, by name: nothing, or why it failed."""


def play_side_by_side(
    plays: Mapping[str, Play], *, kafka: LocalKafka, directories: pytest.TempPathFactory
) -> Played:
    """Play cases at the same time, and return what came of each."""

    async def play_one(play: Play) -> None:
        async with open_house(
            directories.mktemp("house"),
            bootstrap_servers=kafka.bootstrap_servers,
            users_servers=kafka.users_bootstrap_servers,
            prefix=fresh_prefix(),
        ) as house:
            await play(house)

    async def play_all() -> list[BaseException | None]:
        return await asyncio.gather(*map(play_one, plays.values()), return_exceptions=True)

    return dict(zip(plays, asyncio.run(play_all()), strict=True))


def came_well(played: Played, name: str) -> None:
    """Raise why a case failed, if it did."""
    error = played[name]
    if error is not None:
        raise error
