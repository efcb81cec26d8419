"""A counterpart that refuses our key stops its line only; one that hangs does not hold up an end."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.faults.counterparts.errands import errand
from tests.faults.counterparts.habits import Habits
from tests.faults.counterparts.scene import open_scene
from tests.faults.counterparts.worker_clock import WorkerClock
from tests.faults.stage import until
from worker.sandbox.payment import fingerprint

if TYPE_CHECKING:
    from pathlib import Path

    from tests.brokers.fixtures import Broker
    from tests.faults.counterparts.errands import Errand
    from tests.faults.counterparts.scene import Scene

pytestmark = pytest.mark.broker

PROBE_MS = 31_000
"""Until the first probe of a stopped line."""


@pytest.mark.promise("P1", "P5", "P6", "P11")
@pytest.mark.fault("the token service refuses our signature under load; the worker is killed meanwhile")
async def test_a_stopped_line_parks_one_saga_of_each_shard(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    """One letter for each shard, the others wait over a restart, and a probe opens the line again."""
    async with open_scene(
        tmp_path,
        bootstrap_servers=broker.bootstrap_servers,
        prefix=prefix,
        habits=Habits(consult="5m", cancel="5m", in_flight=16),
    ) as scene:
        clock = WorkerClock(tmp_path / "clock")
        staff = scene.hire("a", clock=clock)
        await scene.stage.settled()
        await scene.tell({"api": "cancel_token", "do": "F INVALID_SIGNATURE"})
        crowd = [errand("crowd", merchant=True) for _ in range(120)]
        shards = {one.partition for one in crowd}
        await scene.send(crowd, over_s=1)
        await scene.all_are(crowd, "waiting", "parked")
        parked = await scene.letters()
        assert Counter(one.partition for one in crowd if one.binding_id in parked) == dict.fromkeys(shards, 1)
        assert {letter["unbinding-reason"] for letter in parked.values()} == {"line_stopped"}

        # Who comes now is not even tried, and the hub's line is another one.
        called = len(await scene.calls())
        late = [errand("late", merchant=True) for _ in range(30)]
        asking = [errand("asking") for _ in range(30)]
        await scene.send([*late, *asking])
        await scene.all_are([*late, *asking], "waiting")
        courses = await scene.courses()
        assert all("allowed" in [event["state"] for event in courses[one.binding_id]] for one in asking)
        assert len(await scene.calls()) == called + len(asking)

        scene.stage.kill(staff)
        staff = scene.hire("a", clock=clock, after=staff)
        await until(lambda: staff.count("shard.opened") >= 2 * len(shards), within_s=60, what="it is back")
        await until(lambda: staff.count("lease.gained") >= 2, within_s=60, what="it has its lease again")
        # A probe while nothing is mended: one call for each shard, no letter.
        called = len(await scene.calls())
        clock.jump(PROBE_MS)
        await until(lambda: probed(scene, called + len(shards)), within_s=30, what="each line is probed")
        await scene.all_are([*late, *asking], "waiting")
        assert len(await scene.calls()) == called + len(shards)
        assert (await scene.letters()).keys() == parked.keys()

        await scene.tell()
        clock.jump(2 * PROBE_MS)
        others = [one for one in [*crowd, *late, *asking] if one.binding_id not in parked]
        await scene.all_are(others, "unbound")
        assert (await scene.letters()).keys() == parked.keys()
        await scene.rest()
        await scene.judged()
        assert staff.count("line.stopped") == len(shards)
        assert staff.count("line.opened") == len(shards)


async def probed(scene: Scene, calls: int) -> bool:
    """Tell whether the payment side has got so many calls."""
    return len(await scene.calls()) >= calls


@pytest.mark.promise("P1", "P3", "P7")
@pytest.mark.fault("SIGTERM while calls hang for longer than the drain may take")
async def test_an_end_does_not_wait_for_a_hub_that_hangs(broker: Broker, prefix: str, tmp_path: Path) -> None:
    """The worker ends in time; calls in flight are undecided elsewhere, those in line never began."""
    async with open_scene(
        tmp_path,
        bootstrap_servers=broker.bootstrap_servers,
        prefix=prefix,
        habits=Habits(consult="5m", cancel="5m", in_flight=8, call_ms=50_000),
    ) as scene:
        await scene.tell({"api": "cancel_token", "do": "hang"})
        staff = scene.hire("a")
        await scene.stage.settled()
        crowd = [errand("crowd", merchant=True) for _ in range(60)]
        asking = [errand("asking") for _ in range(10)]
        await scene.send([*crowd, *asking])

        async def full() -> bool:
            return len(await scene.calls(step="cancel_token")) == 8

        await until(full, within_s=20, what="as many calls hang as may be in flight")
        await scene.all_are(asking, "allowed")
        begun = {call.fingerprint for call in await scene.calls(step="cancel_token")}
        assert await scene.stage.terminate(staff, within_s=25) == 0
        assert staff.count("drain.failed") == 0
        assert {call.ended for call in await scene.calls(step="cancel_token")} == {"client_left"}

        await scene.tell({"api": "cancel_token", "do": "never issued"})
        scene.hire("b")
        await scene.stage.settled()
        everyone = [*crowd, *asking]
        await scene.all_are(everyone, "unbound", "parked")
        courses = await scene.courses()
        assert len(begun) == 8
        for one in everyone:
            last = courses[one.binding_id][-1]
            if fingerprint(one.token) in begun:
                # It may have been done by the call that was cut off.
                assert (last["state"], last.get("evidence")) == ("unbound", "already_unbound")
            else:
                assert (last["state"], last.get("resultCode")) == ("parked", "INVALID_TOKEN")
            assert await cancels(scene, one) == 1 + (fingerprint(one.token) in begun)
        await scene.rest()
        await scene.judged()


async def cancels(scene: Scene, one: Errand) -> int:
    """Count the cancelToken calls of one request."""
    return len(await scene.calls(one, step="cancel_token"))
