"""The worker's wall clock jumps, forward and back, while sagas wait, while calls are out, and over a restart.

What is promised, and what these tests hold the worker to:

- No call before its `nextAttemptAt` by the clock of the process that calls, at that moment (P4).
- Set forward, a clock counts as time that passed: what waits falls due, patience and `expiresAt` run out.
- Set back, it delays what waits by as much as it was set back; what is new is served at once.
- Patience is never longer than the step's own, counted from the moment the clock was set back; a permission
  is good for five minutes on either side of its moment.
- Forward and back again costs nobody anything who heard nothing in between.
- Leases, sessions, limits and the time a call may take know nothing of it, and no loop spins.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final

import pytest

from tests.faults.counterparts.errands import errand
from tests.faults.counterparts.habits import Habits
from tests.faults.counterparts.scene import open_scene
from tests.faults.counterparts.worker_clock import WorkerClock
from tests.faults.stage import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.brokers.fixtures import Broker
    from tests.faults.counterparts.errands import Errand
    from tests.faults.counterparts.processes import Staff
    from tests.faults.counterparts.scene import Scene

pytestmark = [pytest.mark.broker, pytest.mark.promise("P1", "P2", "P3", "P4", "P5")]

MINUTE: Final = 60_000
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
LONG = ("5m",)
"""A wait that ends within a test only if the clock is moved."""


@pytest.mark.fault("the clock jumps forward by minutes, an hour, days, and back, while sagas wait and call")
async def test_forward_and_back(broker: Broker, prefix: str, tmp_path: Path) -> None:
    """What waits falls due at once; new requests are served the same before, between and after."""
    async with open_scene(
        tmp_path,
        bootstrap_servers=broker.bootstrap_servers,
        prefix=prefix,
        habits=Habits(consult="30d", cancel="30d", quick=0, waits=LONG, call_ms=8_000),
    ) as scene:
        clock = WorkerClock(tmp_path / "clock")
        staff = scene.hire("a", clock=clock)
        await scene.stage.settled()
        for by_ms in (7 * MINUTE, HOUR, 3 * DAY):
            waiting = await told(scene, "waiting", "U 1 time then allow")
            flying = await told(scene, "flying", "slow 2500", step="cancel_token")
            await scene.all_are(waiting, "waiting")
            await scene.in_flight(flying, step="cancel_token")

            clock.jump(by_ms)
            await scene.all_are([*flying, *waiting], "unbound")
            await fresh_are_served(scene)

            # Those who wait now were told a time that is far off once the clock is right again.
            asleep = await told(scene, "asleep", "U 1 time then allow")
            flying = await told(scene, "flying", "slow 2500", step="cancel_token")
            await scene.all_are(asleep, "waiting")
            await scene.in_flight(flying, step="cancel_token")
            clock.jump(-by_ms)
            await scene.all_are(flying, "unbound")
            await fresh_are_served(scene)
            await idles(staff)
            assert set(await scene.states(asleep)) == {"waiting"}
            clock.jump(by_ms + 6 * MINUTE)
            await scene.all_are(asleep, "unbound")
        assert not await scene.letters()
        await scene.rest()
        await scene.judged()


@pytest.mark.fault("the clock of a restarted worker is an hour behind the journal, then right again")
async def test_a_start_with_a_clock_behind_the_journal(broker: Broker, prefix: str, tmp_path: Path) -> None:
    """It opens, serves what is new, calls nobody too early, and goes on with the rest when it is time."""
    async with open_scene(
        tmp_path,
        bootstrap_servers=broker.bootstrap_servers,
        prefix=prefix,
        habits=Habits(consult="30d", cancel="30d", quick=0, waits=LONG, call_ms=20_000),
    ) as scene:
        clock = WorkerClock(tmp_path / "clock")
        staff = scene.hire("a", clock=clock)
        await scene.stage.settled()
        waiting = await told(scene, "waiting", "U 1 time then allow")
        doubted = await told(scene, "doubted", "lost 1 time then allow", step="cancel_token")
        cut_off = await told(scene, "cut-off", "hang 1 time then allow", step="cancel_token")
        await scene.all_are([*waiting, *doubted], "waiting")
        await scene.in_flight(cut_off, step="cancel_token")
        scene.stage.kill(staff)
        clock.jump(-HOUR)
        staff = scene.hire("b", clock=clock)
        await scene.stage.settled()
        # A call that was cut off is made again now: it waits for nothing.
        await scene.all_are(cut_off, "unbound")
        await fresh_are_served(scene)
        await idles(staff)
        assert set(await scene.states([*waiting, *doubted])) == {"waiting"}
        clock.jump(HOUR + 6 * MINUTE)
        await scene.all_are([*waiting, *doubted], "unbound")
        assert not await scene.letters()
        await scene.rest()
        await scene.judged()


@pytest.mark.fault("two workers with clocks ten minutes apart take over from each other")
async def test_two_clocks(broker: Broker, prefix: str, tmp_path: Path) -> None:
    """Whoever has a partition keeps to its own clock; a takeover loses and repeats nothing."""
    async with open_scene(
        tmp_path,
        bootstrap_servers=broker.bootstrap_servers,
        prefix=prefix,
        habits=Habits(consult="10m", cancel="30m", quick=0, waits=("1s", "1s")),
    ) as scene:
        ahead = WorkerClock(tmp_path / "ahead", offset_ms=5 * MINUTE)
        behind = WorkerClock(tmp_path / "behind", offset_ms=-5 * MINUTE)
        early = scene.hire("a", clock=ahead)
        await scene.stage.settled()
        first = await told(scene, "first", "U 2 times then allow")
        await scene.some_are(first, "waiting")
        scene.hire("b", clock=behind)
        await until(lambda: bool(scene.stage.open_partitions(without=early)), within_s=60, what="b has some")
        await scene.stage.settled()
        second = await told(scene, "second", "U 2 times then allow")
        await scene.some_are(second, "waiting")
        scene.stage.kill(early)
        await scene.stage.settled()
        # What the one that is ahead put off to a time ten minutes off by this clock waits for that.
        third = await told(scene, "third", "U 1 time then allow")
        await scene.all_are(third, "unbound")
        behind.jump(10 * MINUTE + 5_000)
        await scene.all_are([*first, *second], "unbound")
        assert not await scene.letters()
        await scene.rest()
        await scene.judged()


@pytest.mark.promise("P9")
@pytest.mark.fault("the clock jumps an hour forward and back in seconds, again and again, under load")
async def test_a_clock_that_swings(broker: Broker, prefix: str, tmp_path: Path) -> None:
    """No request is lost, nobody is parked, and the signed time is that of the worker's clock."""
    async with open_scene(
        tmp_path,
        bootstrap_servers=broker.bootstrap_servers,
        prefix=prefix,
        habits=Habits(consult="30d", cancel="30d", waits=("300ms", "600ms")),
    ) as scene:
        clock = WorkerClock(tmp_path / "clock")
        scene.hire("a", clock=clock)
        await scene.stage.settled()
        deeds = {
            "plain": "allow",
            "unknown": "U 3 times then allow",
            "lost": "lost 3 times then allow",
            "slow": "slow 400",
        }
        crowd = [errand(kind) for kind in deeds for _ in range(40)]
        await scene.tell(*({"prefix": f"secret-{kind}", "do": do} for kind, do in deeds.items()))
        sending = asyncio.create_task(scene.send(crowd, over_s=4))
        for by_ms in (HOUR, -HOUR, -MINUTE, MINUTE, 2 * DAY, -2 * DAY, -HOUR, HOUR):
            before = len(await scene.calls())
            clock.jump(by_ms)
            await until(partial(called, scene, before + 1), within_s=60, what="calls go on", look_s=0.2)
        await sending
        # What was put off while the clock was ahead falls due when that time comes.
        clock.set(2 * DAY + HOUR + MINUTE)
        await scene.all_are(crowd, "unbound", within_s=120)
        assert not await scene.letters()
        await scene.rest()
        await scene.judged()


async def told(scene: Scene, kind: str, do: str, *, step: str = "consult") -> list[Errand]:
    """Send a few requests, for which the payment side does something at this step."""
    errands = [errand(kind) for _ in range(6)]
    scene.rules += [{"token": one.token, "api": step, "do": do} for one in errands]
    await scene.tell(*scene.rules)
    await scene.send(errands)
    return errands


async def fresh_are_served(scene: Scene) -> None:
    """See that new requests run to their end, whatever the clock says."""
    fresh = [errand("fresh") for _ in range(12)]
    await scene.send(fresh)
    await scene.all_are(fresh, "unbound")


async def idles(staff: Staff) -> None:
    """See that a worker that only waits uses little CPU: half of it or more would be a loop that spins."""
    loop = asyncio.get_running_loop()
    used, began = staff.child.cpu_s, loop.time()
    await until(lambda: loop.time() - began > 3, within_s=10, what="three seconds have passed")
    assert staff.child.cpu_s - used < 0.5 * (loop.time() - began)


async def called(scene: Scene, calls: int) -> bool:
    """Tell whether the payment side has got so many calls."""
    return len(await scene.calls()) >= calls
