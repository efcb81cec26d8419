"""The simulated loop: its time, its order, and its processes."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from tests.simulation.loop import Deadlock, Life, Process, SimLoop, run


def shuffled(seed: int) -> SimLoop:
    """Return a loop that shuffles timers of one moment."""
    return SimLoop(ties=Random(seed).random)  # noqa: S311 - a seed, no secret


def test_time_jumps_to_the_next_timer() -> None:
    """A year of sleep takes a few steps, and time is exact."""
    loop = SimLoop()

    async def main() -> float:
        await asyncio.sleep(365 * 86_400)
        return asyncio.get_running_loop().time()

    assert run(loop, main()) == 365 * 86_400
    assert loop.steps < 10


def test_timers_fire_in_order_of_their_moments() -> None:
    """Timers fire by moment, and those of one moment in the order in which they were set, unless shuffled."""
    loop, seen = SimLoop(), list[str]()

    async def main() -> None:
        for name, delay in (("c", 2.0), ("a", 1.0), ("b", 1.0)):
            asyncio.get_running_loop().call_later(delay, seen.append, name)
        await asyncio.sleep(3)

    run(loop, main())
    assert seen == ["a", "b", "c"]


def test_ties_are_shuffled_by_the_seed() -> None:
    """Timers of one moment come in an order that the seed decides."""

    def order(seed: int) -> tuple[int, ...]:
        loop, seen = shuffled(seed), list[int]()

        async def main() -> None:
            for number in range(5):
                asyncio.get_running_loop().call_later(1.0, seen.append, number)
            await asyncio.sleep(2)

        run(loop, main())
        return tuple(seen)

    assert len({order(seed) for seed in range(20)}) > 5
    assert order(7) == order(7)


def test_ready_steps_keep_their_order() -> None:
    """Steps that are ready run in the order in which they were scheduled, whatever the seed."""
    for seed in range(10):
        loop, seen = shuffled(seed), list[int]()

        async def main(seen: list[int] = seen) -> None:
            for number in range(5):
                asyncio.get_running_loop().call_soon(seen.append, number)
            await asyncio.sleep(0)

        run(loop, main())
        assert seen == [0, 1, 2, 3, 4]


def test_deadlock_names_who_waits_where() -> None:
    """A loop in which nothing can happen any more says which task waits in which function."""
    loop = SimLoop()

    async def waits_in_vain() -> None:
        await loop.create_future()

    with pytest.raises(Deadlock, match=r"waits_in_vain"):
        run(loop, waits_in_vain())


def test_timeouts_and_task_groups_work() -> None:
    """What asyncio builds on a loop works on this one: time-outs, groups, queues, events."""
    loop = SimLoop()

    async def main() -> list[int]:
        queue: asyncio.Queue[int] = asyncio.Queue()
        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(queue.put(number))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.Event().wait()
        return [queue.get_nowait() for _ in range(3)]

    assert run(loop, main()) == [0, 1, 2]
    assert loop.time() == 5


def test_killed_process_makes_no_step() -> None:
    """A killed process runs nothing any more: no timer, no wake-up, no clean-up."""
    loop, process, seen = SimLoop(), Process("p"), list[str]()

    async def child() -> None:
        try:
            await asyncio.sleep(1)
            seen.append("woke")
        finally:
            seen.append("cleaned up")

    async def parent() -> None:
        await asyncio.gather(child(), child())

    async def main() -> None:
        loop.spawn(process, parent(), name="parent")
        await asyncio.sleep(0.5)
        loop.kill(process)
        await asyncio.sleep(10)
        assert seen == []

    run(loop, main())
    assert loop.complaints == []


def test_frozen_process_goes_on_after_it_is_thawed() -> None:
    """A frozen process makes no step; thawed, it makes those that fell due, in order."""
    loop, process, seen = SimLoop(), Process("p"), list[float]()

    async def ticks() -> None:
        for _ in range(3):
            await asyncio.sleep(1)
            seen.append(loop.time())

    async def main() -> None:
        ticking = loop.spawn(process, ticks(), name="ticks")
        await asyncio.sleep(1.5)
        loop.freeze(process)
        await asyncio.sleep(8.5)
        assert seen == [1.0]
        loop.thaw(process)
        await ticking

    run(loop, main())
    assert seen == [1.0, 10.0, 11.0]


def test_kill_at_every_step() -> None:
    """A process can be killed before any of its steps, and then does no more of what it would have done."""

    def runs(kill_at: int) -> tuple[int, int]:
        loop, process, done = SimLoop(), Process("p"), list[int]()

        async def work() -> None:
            for number in range(5):
                await asyncio.sleep(0)
                done.append(number)

        def look(step: int) -> None:
            if step == kill_at:
                loop.kill(process)

        async def main() -> None:
            loop.spawn(process, work(), name="work")
            await asyncio.sleep(1)

        loop.before_step = look
        run(loop, main())
        return len(done), loop.steps

    progress = [runs(step)[0] for step in range(1, runs(1 << 30)[1] + 2)]
    assert progress == sorted(progress)
    assert set(progress) == set(range(6))


def test_forgotten_exception_is_a_complaint() -> None:
    """An exception that nobody awaits is kept, so that a scenario can fail by it."""
    loop = SimLoop()

    async def fails() -> None:
        raise ValueError("lost")

    async def main() -> None:
        task = asyncio.ensure_future(fails())
        await asyncio.sleep(1)
        del task

    run(loop, main())
    assert len(loop.complaints) == 1
    assert "lost" in loop.complaints[0]


def test_life_of_a_process_is_shown_in_a_deadlock() -> None:
    """A deadlock tells which process a waiting task belongs to, and that it is frozen."""
    loop, process = SimLoop(), Process("p")

    async def main() -> None:
        await loop.spawn(process, asyncio.sleep(1), name="sleeper")

    process.life = Life.FROZEN
    with pytest.raises(Deadlock, match=r"p \(frozen\): sleeper"):
        run(loop, main())
