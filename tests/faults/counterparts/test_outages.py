"""An outage of one counterpart: the others' sagas go on, the affected wait, and all end by themselves."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.faults.counterparts.authority import Authority
from tests.faults.counterparts.errands import Errand, errand
from tests.faults.counterparts.front import Front
from tests.faults.counterparts.habits import Habits
from tests.faults.counterparts.scene import Scene, open_scene
from tests.faults.counterparts.worker_clock import WorkerClock
from tests.faults.stage import now_ms, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

    from tests.brokers.fixtures import Broker

pytestmark = [pytest.mark.broker, pytest.mark.promise("P1", "P11")]

HUB_RATE: Final = 25
"""Attempts a second that the worker may begin at the hub."""
CROWD: Final = 75
"""Requests of each kind in an outage."""
SLOWLY_MS: Final = 34_000
"""Longer than what asks for fewer calls is waited for at least."""


def users(kind: str, count: int = CROWD) -> list[Errand]:
    """Make requests of users: each needs a consult, and then cancelToken."""
    return [errand(kind) for _ in range(count)]


def merchants(kind: str, count: int = CROWD) -> list[Errand]:
    """Make requests of merchants: each needs cancelToken only."""
    return [errand(kind, merchant=True) for _ in range(count)]


@asynccontextmanager
async def outage(scene: Scene, front: Front, kind: str) -> AsyncIterator[None]:
    """Let the hub be away in one of many ways."""
    told = {
        "answers slowly": "slow 10000",
        "fails": "http 500",
        "wants fewer calls": "429 + after 1",
        "says U": "U",
    }
    match kind:
        case "refuses":
            await front.shut()
        case "resets":
            front.rejects = True
            front.tear()
        case "hangs":
            front.dumb = True
        case _:
            await scene.tell({"api": "consult", "do": told[kind]})
    scene.stage.note(f"the hub {kind}")
    try:
        yield
    finally:
        await front.shut()
        await scene.tell()
        await front.open()
        scene.stage.note("the hub is back")


@pytest.mark.fault("the hub refuses, resets, hangs, is slow, fails or wants fewer calls, under load")
async def test_an_outage_of_the_hub_costs_those_nothing_who_need_it_not(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    """While the hub is away merchants' sagas end as ever; users' sagas wait and end when it is back."""
    habits = Habits(consult="2m", cancel="2m", rates={"hub": HUB_RATE, "tokens": 200})
    async with AsyncExitStack() as opened:
        scene = await opened.enter_async_context(
            open_scene(tmp_path, bootstrap_servers=broker.bootstrap_servers, prefix=prefix, habits=habits)
        )
        front = Front(to_port=int(scene.stage.payment_url.rpartition(":")[2]))
        await front.open()
        opened.push_async_callback(front.shut)
        scene.urls["hub"] = front.url
        clock = WorkerClock(tmp_path / "clock")
        scene.hire("a", clock=clock)
        await scene.stage.settled()

        before = merchants("before")
        await scene.send(before, over_s=1.5)
        await scene.all_are(before, "unbound")
        scene.stage.note(f"merchants' latencies before: {await told_latencies(scene, before)}")
        backs: list[int] = []
        for kind in ("refuses", "resets", "hangs", "answers slowly", "fails", "says U", "wants fewer calls"):
            # What wants fewer calls makes the rate go down for minutes: not with a crowd.
            affected = users(kind, CROWD if kind != "wants fewer calls" else 8)
            unaffected = merchants(kind)
            async with outage(scene, front, kind):
                async with asyncio.TaskGroup() as group:
                    group.create_task(scene.send(affected, over_s=1.5))
                    group.create_task(scene.send(unaffected, over_s=1.5))
                # The outage lasts until all of them have ended: none of them waits for its end.
                await scene.all_are(unaffected, "unbound")
                scene.stage.note(f"merchants' latencies: {await told_latencies(scene, unaffected)}")
                await scene.some_are(affected, "waiting")
                assert set(await scene.states(affected)) <= {"requested", "waiting"}, kind
            backs.append(now_ms())
            if kind == "wants fewer calls":
                clock.jump(SLOWLY_MS)
            await scene.all_are(affected, "unbound", within_s=90)
        assert not await scene.letters()
        await scene.rest()
        await scene.judged()
        # No stampede: those who waited come back at the hub's rate.
        moments = [call.received_at for call in await scene.calls(step="consult")]
        for back_at in backs:
            after = [at for at in moments if back_at <= at < back_at + 10_000]
            assert busiest_second(after) <= 2 * HUB_RATE


async def told_latencies(scene: Scene, errands: list[Errand]) -> str:
    """Tell how long requests took, in the middle and at worst."""
    took = await scene.latencies_ms(errands)
    return f"p50 {took[len(took) // 2]} ms, p99 {took[len(took) * 99 // 100]} ms"


def busiest_second(moments: Iterable[int]) -> int:
    """Return how many of the moments (ms) lie within one second, at most."""
    ordered = sorted(moments)
    return max((sum(first <= at < first + 1_000 for at in ordered) for first in ordered), default=0)


@pytest.mark.fault("the token service is away, then the whole payment side is killed under load")
async def test_an_outage_of_the_token_service_leaves_consults_their_answers(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    """Refused users hear of it at once, allowed ones are told so and unbound later; nobody is parked."""
    habits = Habits(consult="2m", cancel="2m")
    async with AsyncExitStack() as opened:
        scene = await opened.enter_async_context(
            open_scene(tmp_path, bootstrap_servers=broker.bootstrap_servers, prefix=prefix, habits=habits)
        )
        front = Front(to_port=int(scene.stage.payment_url.rpartition(":")[2]))
        await front.open()
        opened.push_async_callback(front.shut)
        scene.urls["tokens"] = front.url
        scene.hire("a")
        await scene.stage.settled()

        for dumb in (False, True):
            refused, allowed = users("refused"), users("allowed")
            await scene.tell({"prefix": "secret-refused", "api": "consult", "do": "refuse"})
            if dumb:
                front.dumb = True
            else:
                await front.shut()
            async with asyncio.TaskGroup() as group:
                group.create_task(scene.send(refused, over_s=1.5))
                group.create_task(scene.send(allowed, over_s=1.5))
            await scene.all_are(refused, "refused")
            await scene.all_are(allowed, "allowed", "waiting")
            courses = await scene.courses()
            for one in allowed:
                assert "allowed" in [event["state"] for event in courses[one.binding_id]]
            await front.shut()
            await front.open()
            await scene.all_are(allowed, "unbound")

        load = [*users("under load"), *merchants("under load")]
        sending = asyncio.create_task(scene.send(load, over_s=3))
        await until(lambda: some_called(scene, load), within_s=20, what="the payment side is busy")
        scene.kill_payment()
        await sending
        assert set(await scene.states(load)) & {"requested", "waiting", "allowed"}
        await scene.start_payment()
        await scene.all_are(load, "unbound", within_s=90)
        assert not await scene.letters()
        await scene.rest()
        await scene.judged()


async def some_called(scene: Scene, errands: list[Errand]) -> bool:
    """Tell whether a fifth of these requests has led to a call."""
    return len(await scene.calls(*errands)) > len(errands) // 5


@pytest.mark.promise("P3", "P9")
@pytest.mark.fault("no connection: refused, a certificate that expired or is another authority's")
async def test_what_never_left_is_not_undecided_and_what_was_lost_is(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    """After failed connections "no such token" is a failure; after a lost answer it is our own doing."""
    async with AsyncExitStack() as opened:
        scene = await opened.enter_async_context(
            open_scene(
                tmp_path,
                bootstrap_servers=broker.bootstrap_servers,
                prefix=prefix,
                habits=Habits(consult="1m", cancel="1m"),
            )
        )
        trusted = Authority(tmp_path, name="trusted")
        stranger = Authority(tmp_path, name="stranger")
        front = Front(to_port=int(scene.stage.payment_url.rpartition(":")[2]), tls=trusted.server())
        await front.open()
        opened.push_async_callback(front.shut)
        scene.urls["tokens"] = front.url
        scene.certificates = trusted.file
        scene.hire("a")
        await scene.stage.settled()
        await scene.tell({"api": "cancel_token", "prefix": "secret-gone", "do": "never issued"})
        first = users("first", 10)
        await scene.send(first)
        await scene.all_are(first, "unbound")

        for bad in (None, trusted.server(expired=True), stranger.server()):
            never_left = merchants("gone-never-left", 6)
            fine = merchants("fine", 6)
            await front.shut()
            if bad is not None:
                await front.open(tls=bad)
            await scene.send([*never_left, *fine])
            await scene.all_are([*never_left, *fine], "waiting")
            assert not await scene.calls(*never_left, *fine)
            assert {event["resultCode"] for event in await last_events(scene, never_left)} == {"NOT_SENT"}
            await front.shut()
            await front.open(tls=trusted.server())
            await scene.all_are(fine, "unbound")
            await scene.all_are(never_left, "parked")
            for event in await last_events(scene, never_left):
                assert (event["reason"], event["resultCode"]) == ("failed", "INVALID_TOKEN")

        lost = merchants("gone-lost", 6)
        front.dumb = True
        await scene.send(lost)
        await scene.all_are(lost, "waiting")
        assert {event["resultCode"] for event in await last_events(scene, lost)} == {"NO_ANSWER"}
        await front.shut()
        await front.open()
        await scene.all_are(lost, "unbound")
        assert {event["evidence"] for event in await last_events(scene, lost)} == {"already_unbound"}
        assert len(await scene.letters()) == 3 * 6
        await scene.rest()
        await scene.judged()


async def last_events(scene: Scene, errands: list[Errand]) -> list[dict[str, Any]]:
    """Return the last event of each request."""
    courses = await scene.courses()
    return [courses[one.binding_id][-1] for one in errands]
