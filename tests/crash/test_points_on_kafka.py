"""A worker dies at each named point, on real Kafka; its successor goes on, and everything is judged."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from contracts.wire import moment_ms
from tests.brokers.fixtures import fresh_prefix
from tests.crash.doom import Sentence
from tests.crash.matrix import MATRIX, Load, Row
from tests.crash.plays import UNANSWERED, play
from tests.crash.theatre import open_theatre
from worker.crash_points import CrashPoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.brokers.fixtures import Broker
    from tests.crash.theatre import Theatre

pytestmark = [pytest.mark.broker, pytest.mark.asyncio(loop_scope="module")]


@dataclass(slots=True)
class House:
    """Gives one theatre to one play after the other, and a new one after a play that went wrong."""

    broker: Broker
    paths: pytest.TempPathFactory
    opened: AsyncExitStack
    theatre: Theatre | None = None

    async def enter(self) -> Theatre:
        """Return a theatre where all is well so far; it is given back by `leave`."""
        theatre, self.theatre = self.theatre, None
        if theatre is not None:
            return theatre
        await self.opened.aclose()
        return await self.opened.enter_async_context(
            open_theatre(
                self.paths.mktemp("theatre"),
                bootstrap_servers=self.broker.bootstrap_servers,
                prefix=fresh_prefix(),
            )
        )

    def leave(self, theatre: Theatre) -> None:
        """Give it back: nothing went wrong."""
        self.theatre = theatre


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """Give the house of this module."""
    async with AsyncExitStack() as opened:
        yield House(broker, tmp_path_factory, opened)


@pytest.mark.promise("P1", "P2", "P3", "P6", "P7")
@pytest.mark.fault("SIGKILL at each named point between two effects")
@pytest.mark.parametrize("row", MATRIX, ids=lambda row: row.name)
async def test_killed_at(house: House, row: Row) -> None:
    """Killed at this point, the worker leaves what its row of the crash matrix says."""
    if row.load is Load.FIRST:
        house.theatre = None
    theatre = await house.enter()
    await play(theatre, row)
    house.leave(theatre)


LOOP = (
    CrashPoint.RESTORING,
    CrashPoint.RESTORING,
    CrashPoint.ACKNOWLEDGED,
    CrashPoint.LEASE_CONFIRMED,
    CrashPoint.ANSWERED,
)
"""Where one successor after the other dies."""


@pytest.mark.promise("P1", "P2", "P3")
@pytest.mark.fault("SIGKILL of each successor while it restores, opens and calls")
async def test_a_crash_loop_is_as_safe_as_one_crash(house: House) -> None:
    """Worker after worker dies as it takes over: only the call that each could make is repeated."""
    theatre = await house.enter()
    if theatre.worker is None:
        theatre.hire()
    await theatre.stage.settled()
    case = theatre.case(UNANSWERED)
    await case.request()
    await case.called("consult", "cancel_token")
    theatre.kill()
    for point in LOOP:
        theatre.hire(Sentence(point=point, partition=case.partition))
        await theatre.death(point)
    theatre.hire()
    await case.reach("unbound")
    await theatre.judge()
    assert await case.told() == ["requested", "allowed", "revoked", "unbound"]
    assert await case.calls() == ["consult", *["cancel_token"] * 3]
    house.leave(theatre)


WAIT_MS = 5_000


@pytest.mark.promise("P4")
@pytest.mark.fault("SIGKILL while a saga waits for its timer")
async def test_a_timer_keeps_its_time(house: House) -> None:
    """Killed while a saga waits, its successor calls at the time that was told, neither before nor anew."""
    theatre = await house.enter()
    if theatre.worker is not None:
        theatre.kill()
    theatre.hire(settings=[f'UNBINDING_PATIENCE__CONSULT__WAITS=["{WAIT_MS}ms"]'])
    await theatre.stage.settled()
    case = theatre.case("consult-unknown2")
    theatre.sentence(Sentence(point=CrashPoint.KNOWN, nth=2, partition=case.partition))
    await case.request()
    await theatre.death(CrashPoint.KNOWN)
    waiting = (await case.events())[-1]
    due_at = moment_ms(datetime.fromisoformat(waiting["nextAttemptAt"]))
    successor = theatre.hire()
    await case.reach("unbound")
    await theatre.judge()
    again = (await case.ledger())[2]
    opened = [line.at for line in successor.lines() if line.event == "shard.opened"]
    assert due_at <= again.received_at < max(opened) + WAIT_MS * 0.8
    assert await case.told() == ["requested", "waiting", "allowed", "revoked", "unbound"]
    assert await case.calls() == ["consult", "consult", "consult", "cancel_token"]
    house.leave(theatre)
