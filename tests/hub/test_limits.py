from __future__ import annotations

import asyncio
import math

import pytest

from contracts.states import Step
from tests.hub.payside import (
    NOW_AT,
    PATHS,
    WALLET_APIS,
    Gate,
    Heard,
    Script,
    answer,
    call,
    counterpart,
    result_body,
    serving,
    settled,
    unbinding,
)
from worker.hub.client import open_hub
from worker.hub.limits import RECOVERY_S, SLOWEST, Limit, Pace, share_out
from worker.ports import NotBegun
from worker.saga.results import ResultClass

pytestmark = pytest.mark.promise("P11")


class Time:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        """Tell the time, in seconds."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Move on."""
        self.now += seconds
        await asyncio.sleep(0)


@pytest.fixture
def time() -> Time:
    """Make a clock."""
    return Time()


def pace(rate: float | None, time: Time) -> Pace:
    """Make a pace on that clock."""
    return Pace(rate, now=time, sleep=time.sleep)


async def test_without_a_rate_nobody_waits(time: Time) -> None:
    """An unlimited pace lets all start at once."""
    unlimited = pace(None, time)
    for _ in range(10_000):
        await unlimited.turn()
    assert time.now == 1_000.0
    assert unlimited.rate == math.inf


async def test_a_rate_is_kept(time: Time) -> None:
    """A hundred starts at ten a second take ten seconds, but for one burst."""
    limited = pace(10.0, time)
    for _ in range(101):
        await limited.turn()
    assert time.now - 1_000.0 == pytest.approx(10.0, abs=0.01)


async def test_slow_down_halves_the_rate_once_a_second(time: Time) -> None:
    """Many answers that were in flight together count as one wish."""
    limited = pace(10.0, time)
    for _ in range(30):
        await limited.turn()
    for _ in range(64):
        limited.slow_down()
    assert limited.rate == pytest.approx(5.0, rel=0.05)
    time.now += 1.0
    limited.slow_down()
    assert limited.rate <= 5.0


async def test_an_unlimited_pace_slows_down_from_what_it_did(time: Time) -> None:
    """Half of the rate seen lately is where it goes on."""
    unlimited = pace(None, time)
    for _ in range(40):
        await unlimited.turn()
    time.now += 1.0
    unlimited.slow_down()
    assert unlimited.rate == pytest.approx(20.0)


async def test_a_lowered_rate_never_stops(time: Time) -> None:
    """However often it is asked for, some call still goes."""
    limited = pace(10.0, time)
    for _ in range(50):
        time.now += 1.5
        limited.slow_down()
    assert limited.rate >= SLOWEST
    await limited.turn()
    assert time.now < 1_000.0 + 75 + 1.5 / SLOWEST


async def test_a_lowered_rate_recovers_slowly(time: Time) -> None:
    """It doubles in a minute, and ends at what is configured."""
    limited = pace(10.0, time)
    for _ in range(30):
        await limited.turn()
    limited.slow_down()
    lowered = limited.rate
    time.now += RECOVERY_S / 2
    assert lowered < limited.rate < 2 * lowered
    time.now += 10 * RECOVERY_S
    assert limited.rate == 10.0


async def test_an_unlimited_pace_is_unlimited_again_in_the_end(time: Time) -> None:
    """A wish of the past does not bind for ever."""
    unlimited = pace(None, time)
    unlimited.slow_down()
    time.now += 30 * RECOVERY_S
    assert unlimited.rate == math.inf


async def test_those_who_wait_go_in_order(time: Time) -> None:
    """First come, first served."""
    limited = pace(1.0, time)
    order: list[int] = []

    async def take(number: int) -> None:
        await limited.turn()
        order.append(number)

    await asyncio.gather(*(take(number) for number in range(8)))
    assert order == list(range(8))


async def test_a_cancelled_waiter_frees_its_place() -> None:
    """Who gives up while it waits for its turn leaves its place to the next one."""
    napping = asyncio.Event()

    async def nap(_: float) -> None:
        napping.set()
        await asyncio.Event().wait()

    slow = Pace(1.0, now=lambda: 1_000.0, sleep=nap)
    await slow.turn()
    limit = Limit(in_flight=1, pace=slow)

    async def enter() -> None:
        async with limit:
            pass

    waiting = asyncio.create_task(enter())
    async with asyncio.timeout(1):
        await napping.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    napping.clear()
    next_one = asyncio.create_task(enter())
    async with asyncio.timeout(1):
        await napping.wait()
    next_one.cancel()
    with pytest.raises(asyncio.CancelledError):
        await next_one


async def test_a_call_that_its_gate_refuses_uses_no_pace(time: Time) -> None:
    """Attempts that never begin take nothing of the rate from those that do."""
    limit = Limit(in_flight=64, pace=pace(10.0, time))

    async def barred() -> None:
        async with limit:
            raise NotBegun

    for _ in range(100):
        with pytest.raises(NotBegun):
            await barred()
    assert time.now == 1_000.0


async def test_a_call_that_fails_has_used_its_pace(time: Time) -> None:
    """An attempt that began counts, whatever becomes of it."""
    limit = Limit(in_flight=64, pace=pace(10.0, time))

    async def failing() -> None:
        async with limit:
            raise ConnectionError

    for _ in range(11):
        with pytest.raises(ConnectionError):
            await failing()
    assert time.now == pytest.approx(1_001.0, abs=0.01)


async def test_turns_given_back_are_no_savings(time: Time) -> None:
    """After a lull not more than a burst starts at once, however many turns were given back."""
    limited = pace(10.0, time)
    await limited.turn()
    for _ in range(20):
        limited.give_back()
    for _ in range(11):
        await limited.turn()
    assert time.now == pytest.approx(1_001.0, abs=0.01)


@pytest.mark.promise("P11")
@pytest.mark.parametrize(
    ("wanted", "in_flight", "places"),
    [
        ({"hub": 64, "tokens": 64}, 256, {"hub": 64, "tokens": 64}),
        ({"hub": 256, "tokens": 256}, 256, {"hub": 128, "tokens": 128}),
        ({"hub": 10_000, "tokens": 10}, 100, {"hub": 90, "tokens": 10}),
        ({"hub": 10_000, "tokens": 64}, 256, {"hub": 192, "tokens": 64}),
        ({"hub": 10_000, "tokens": 64, "merchants": 300}, 256, {"hub": 96, "tokens": 64, "merchants": 96}),
        ({"hub": 64, "tokens": 64, "merchants": 64}, 2, {"hub": 1, "tokens": 1, "merchants": 1}),
    ],
)
def test_counterparts_share_the_places_out(
    wanted: dict[str, int], in_flight: int, places: dict[str, int]
) -> None:
    """Together they have the process's places, the modest all that they want, and each one at least."""
    assert list(share_out(wanted, in_flight=in_flight).items()) == list(places.items())


@pytest.mark.wire
@pytest.mark.promise("P11")
@pytest.mark.fault("one of two counterparts hangs with as many calls as the process may have")
async def test_a_counterpart_that_hangs_leaves_the_others_their_places() -> None:
    """With all the hub's places taken by calls that hang, the tokens' calls are made as ever."""

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()
        await asyncio.Event().wait()

    script = Script([answer(result_body())])
    async with (
        serving(silent) as dead_port,
        serving(script) as port,
        open_hub(
            [
                counterpart(
                    f"http://127.0.0.1:{dead_port}",
                    paths={Step.CONSULT: PATHS[Step.CONSULT]},
                    timeout_ms=60_000,
                ),
                counterpart(
                    f"http://127.0.0.1:{port}",
                    name="tokens",
                    paths={Step.CANCEL_TOKEN: PATHS[Step.CANCEL_TOKEN]},
                ),
            ],
            apis=WALLET_APIS,
            in_flight=8,
            clock=lambda: NOW_AT,
            chance=lambda: 0.5,
            observer=Heard(),
        ) as hub,
    ):
        crowd = [
            asyncio.create_task(hub.perform(call(Step.CONSULT), unbinding(), Gate())) for _ in range(100)
        ]
        await settled()
        async with asyncio.timeout(5):
            result = await hub.perform(call(), unbinding(), Gate())
        assert result.result_class is ResultClass.DONE
        for one in crowd:
            one.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)
