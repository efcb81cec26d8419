from __future__ import annotations

import asyncio
import math

import pytest

from worker.hub.limits import RECOVERY_S, SLOWEST, Limit, Pace


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


async def test_a_cancelled_waiter_frees_its_place(time: Time) -> None:
    """Who gives up while the process is full leaves both limits as they were."""
    process = asyncio.Semaphore(1)
    limit = Limit(in_flight=1, pace=pace(None, time), process=process)
    await process.acquire()

    async def enter() -> None:
        async with limit:
            pass

    waiting = asyncio.create_task(enter())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    process.release()
    async with asyncio.timeout(1):
        await enter()


async def test_a_slow_counterpart_leaves_the_others_their_places(time: Time) -> None:
    """Calls that wait at one counterpart's own limit hold no place of the process."""
    process = asyncio.Semaphore(2)
    slow, other = (Limit(in_flight=1, pace=pace(None, time), process=process) for _ in range(2))

    async def enter(limit: Limit) -> None:
        async with limit:
            pass

    async with slow:
        crowd = [asyncio.create_task(enter(slow)) for _ in range(10)]
        await asyncio.sleep(0)
        async with asyncio.timeout(1):
            await enter(other)
    await asyncio.gather(*crowd)
