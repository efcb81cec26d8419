"""Leases: when they live, and when they must not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.kafka.recorder import Recorder
from worker.kafka.lease import Expelled, LeaseKeeper, NotRenewed

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.promise("P3")

SESSION_MS = 20_000
BOUND_MS = 8_000


class World:
    """A clock that the test turns, and a group that answers as the test says."""

    def __init__(self) -> None:
        self.now = 1_000_000
        self.positions: dict[int, int] = {0: 5, 1: 7}
        self.commits: list[dict[int, int]] = []
        self.error: Exception | None = None
        self.answer = asyncio.Event()
        self.answer.set()
        self.asked = asyncio.Event()
        self.recorder = Recorder()
        self.keeper = LeaseKeeper(
            commit=self.commit,
            positions=lambda: self.positions,
            session_timeout_ms=SESSION_MS,
            observer=self.recorder,
            clock=lambda: self.now,
        )
        self.keeper.begin([0, 1])

    async def commit(self, positions: Mapping[int, int]) -> None:
        """Take a commit, answer when the test lets it."""
        self.commits.append(dict(positions))
        self.asked.set()
        await self.answer.wait()
        if self.error is not None:
            raise self.error

    def live(self) -> list[bool]:
        """Return whether each partition's lease is live."""
        return [self.keeper.lease(partition).live() for partition in (0, 1)]


@pytest.fixture
async def world() -> World:
    """Give a world with two held partitions that have positions."""
    return World()


async def test_not_live_before_the_first_commit(world: World) -> None:
    """A lease is not live before the group has confirmed a commit."""
    assert world.live() == [False, False]
    await world.keeper.renew()
    assert world.live() == [True, True]


async def test_dies_of_age(world: World) -> None:
    """A lease that is not renewed dies well before the session ends."""
    await world.keeper.renew()
    world.now += BOUND_MS - 1
    assert world.live() == [True, True]
    world.now += 1
    assert world.live() == [False, False]


async def test_age_counts_from_sending(world: World) -> None:
    """An answer that comes after a long stop renews nothing, for the age counts from sending."""
    world.answer.clear()
    renewal = asyncio.create_task(world.keeper.renew())
    await world.asked.wait()
    world.now += BOUND_MS
    world.answer.set()
    await renewal
    assert world.live() == [False, False]


async def test_partition_without_position_is_not_live(world: World) -> None:
    """A partition without a position is not committed, and its lease is not live."""
    world.positions = {1: 7}
    await world.keeper.renew()
    assert world.commits == [{1: 7}]
    assert world.live() == [False, True]


async def test_never_an_empty_commit(world: World) -> None:
    """Without any position nobody is asked, and nothing is live."""
    world.positions = {}
    await world.keeper.renew()
    assert world.commits == []
    assert world.live() == [False, False]


async def test_expulsion_ends_all_at_once(world: World) -> None:
    """A commit refused because the member is unknown ends every lease at once."""
    await world.keeper.renew()
    world.error = Expelled("unknown member")
    await world.keeper.renew()
    assert world.live() == [False, False]
    assert "lease.lost" in world.recorder.events()


async def test_rebalance_neither_renews_nor_ends(world: World) -> None:
    """A commit refused because of a rebalance leaves the leases to their age."""
    await world.keeper.renew()
    world.now += BOUND_MS - 10
    world.error = NotRenewed("rebalance")
    await world.keeper.renew()
    assert world.live() == [True, True]
    world.now += 10
    assert world.live() == [False, False]


async def test_revocation_ends_and_a_late_answer_revives_nothing(world: World) -> None:
    """A lease that was ended stays dead although a commit sent before is confirmed afterwards."""
    world.answer.clear()
    renewal = asyncio.create_task(world.keeper.renew())
    await world.asked.wait()
    world.keeper.end([0])
    world.answer.set()
    await renewal
    assert not world.keeper.lease(0).live()


async def test_wait_returns_when_renewed(world: World) -> None:
    """Who waits for a lease goes on with the first confirmed commit."""
    waiting = asyncio.create_task(world.keeper.lease(0).wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    await world.keeper.renew()
    async with asyncio.timeout(1):
        await waiting


async def test_kick_renews_at_once(world: World) -> None:
    """A kick renews without waiting for the next turn."""
    running = asyncio.create_task(world.keeper.run())
    await world.asked.wait()
    world.asked.clear()
    world.keeper.kick()
    async with asyncio.timeout(1):
        await world.asked.wait()
    running.cancel()
    await asyncio.wait([running])


async def test_confirmed_lately(world: World) -> None:
    """Membership counts as confirmed for one session after the last confirmed commit was sent."""
    assert not world.keeper.confirmed_lately()
    await world.keeper.renew()
    world.now += SESSION_MS - 1
    assert world.keeper.confirmed_lately()
    world.now += 1
    assert not world.keeper.confirmed_lately()
