"""A whole run from a seed: what is sent, what goes wrong, how it comes to rest, and what the checker says."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from contracts.states import Step
from contracts.topics import LogicalTopic, topic_name
from tests.simulation.hub import LINES, Act
from tests.simulation.loop import Deadlock, Life, Livelock, run
from tests.simulation.process import SimHold
from tests.simulation.upstream import Upstream
from tests.simulation.world import HOUR_MS, SESSION, World
from worker.verify.checker import Violation, check
from worker.verify.reader import read_history

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from tests.simulation.process import Ports, Shard, SimWorker
    from worker.verify.history import History

BINDINGS = ("binding-a", "binding-b", "binding-c", "binding-d", "binding-e")
REST_LIMIT = 2 * 3600.0
"""Simulated seconds in which everything must have come to its end: longer than any patience."""
RESTART_WATCH = 1_800.0
"""How long a restart at rest is watched, in simulated seconds: longer than the patience of `subject`."""


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What a run gave."""

    seed: int
    history: History
    violations: list[Violation]
    misuses: list[str]
    diary: list[str]
    steps: int
    seconds: float
    failure: str | None = None
    states: Counter[str] = field(default_factory=Counter)

    @property
    def good(self) -> bool:
        """Whether all promises were kept."""
        return not (self.violations or self.misuses or self.failure)


@dataclass(slots=True, kw_only=True)
class Wildness:
    """How much goes wrong."""

    sends: int
    faults: int
    jumps: bool
    helpful: bool
    """The payment side mostly obeys."""


def play(seed: int, *, make_shard: Callable[[Ports], Shard]) -> Outcome:
    """Run the scenario of a seed to its end."""
    random = Random(seed)  # noqa: S311 - a seed, no secret
    wildness = Wildness(
        sends=random.randint(3, 30),
        faults=random.choice((0, 1, 2, 4, 8)),
        jumps=random.random() < 0.15,
        helpful=random.random() < 0.5,
    )
    world = World(random.randrange(1 << 48), make_shard=make_shard)
    sender = Random(random.randrange(1 << 48))  # noqa: S311 - a seed, no secret
    upstream = Upstream(world=world, random=sender, bindings=BINDINGS)
    story = Story(world, upstream, random, wildness)
    return conclude(seed, world, story)


def conclude(seed: int, world: World, story: Story) -> Outcome:
    """Run a story and check what came of it."""
    outcome = conclude_run(seed, world, story.tell(), tokens=story.upstream.tokens)
    outcome.violations += story.violations
    return outcome


def conclude_run(
    seed: int, world: World, main: Coroutine[object, object, None], *, tokens: Sequence[str]
) -> Outcome:
    """Run `main` in the world, then read its history and check it; no token may stand in it in clear."""
    failure = None
    try:
        run(world.loop, main)
    except (Deadlock, Livelock, Restless) as error:
        failure = f"{type(error).__name__}: {error}"
    history = read_history(
        world.cluster,
        partitions=world.partitions,
        attempts=world.side.ledger,
        secrets=[token.encode() for token in tokens],
        at_rest=failure is None,
    )
    return Outcome(
        seed=seed,
        history=history,
        violations=check(history),
        misuses=world.misuses(),
        diary=world.diary,
        steps=world.loop.steps,
        seconds=world.loop.time(),
        failure=failure,
        states=Counter(event.state for event in history.states),
    )


class Restless(Exception):
    """The world did not come to rest within the limit."""


class Story:
    """What happens, in three acts: the storm, the calm, and a restart that must change nothing."""

    def __init__(self, world: World, upstream: Upstream, random: Random, wildness: Wildness) -> None:
        self.world = world
        self.upstream = upstream
        self.violations: list[Violation] = []
        self._random = random
        self._wild = wildness

    async def tell(self) -> None:
        """Play all of it."""
        self._prepare()
        await asyncio.gather(self._send(), self._storm(), self._storm())
        await self._calm()
        await self._rest()
        await self._restart()

    def _prepare(self) -> None:
        world, random = self.world, self._random
        world.side.dead_token_is_success = random.random() < 0.5
        workers = [world.hire() for _ in range(random.randint(1, 3))]
        for partition in range(world.partitions):
            world.give(partition, random.choice(workers))
        world.network.outside(random.random() * 2, world.commit_group)
        for binding in BINDINGS:
            targets = (
                *(f"token:secret-token-{binding}-{number}" for number in range(2)),
                f"agreement:auth-1/agreement-{binding}",
                f"account:account-{binding}",
                f"binding:{binding}",
            )
            for target in targets:
                for step in Step:
                    world.side.acts[target, step] = self._acts()

    def _acts(self) -> list[Act]:
        random = self._random
        if random.random() < (0.6 if self._wild.helpful else 0.25):
            return []
        return random.choices(list(Act), k=random.choice((1, 1, 2, 4, 9)))

    async def _send(self) -> None:
        for _ in range(self._wild.sends):
            self.upstream.act()
            await asyncio.sleep(self._pause())

    async def _storm(self) -> None:
        for _ in range(self._wild.faults):
            await asyncio.sleep(self._pause())
            await self._strike()

    def _pause(self) -> float:
        return self._random.choice((0.0, 0.01, 0.3, 2.0, 15.0, 90.0)) * self._random.random()

    # --- the storm ---------------------------------------------------------------

    async def _strike(self) -> None:
        deeds = [
            self._kill_at_some_step,
            self._kill_at_some_step,
            self._freeze,
            self._cut,
            self._move,
            self._move,
            self._compact,
            self._break_commits,
            self._refuse,
            self._foreign,
            self._hold,
            self._stop_line,
        ]
        if self._wild.jumps:
            deeds.append(self._jump)
        await self._random.choice(deeds)()

    async def _kill_at_some_step(self) -> None:
        world = self.world
        worker = self._someone()
        if worker is None:
            return
        at = world.loop.steps + int(self._random.choice((1, 5, 30, 200)) * self._random.random())
        struck: asyncio.Future[None] = world.loop.create_future()

        def strike() -> None:
            if not struck.done():
                world.kill(worker)
                struck.set_result(None)

        world.at_step(at, strike)
        # Steps may be rare: strike after a minute at the latest.
        world.network.outside(60.0, strike)
        await struck
        await asyncio.sleep(self._random.choice((0.0, 0.05, 2.0, SESSION)))
        world.replace(worker)

    async def _freeze(self) -> None:
        worker = self._someone()
        if worker is not None:
            self.world.freeze(worker)
            await asyncio.sleep(self._random.choice((0.1, 4.0, 12.0, 25.0, 60.0)))
            self.world.thaw(worker)

    async def _cut(self) -> None:
        worker = self._someone()
        if worker is not None:
            self.world.cut(worker)
            await asyncio.sleep(self._random.choice((1.0, 8.0, 30.0)))
            self.world.mend(worker)

    async def _move(self) -> None:
        world = self.world
        healthy = [worker for worker in world.workers if worker.cut_at is None]
        if len(healthy) < 2:
            healthy.append(world.hire())
        partition = self._random.randrange(world.partitions)
        owner = world.owners[partition]
        if owner is None or owner.cut_at is not None or owner.process.life is not Life.RUNS:
            return
        others = [worker for worker in healthy if worker is not owner]
        await world.move(partition, self._random.choice(others))
        if self._random.random() < 0.5 and owner in world.workers:
            # It comes back: the memory may have been kept.
            await asyncio.sleep(self._pause())
            await world.move(partition, owner)

    async def _compact(self) -> None:
        self.world.compact()

    async def _break_commits(self) -> None:
        faults = self.world.log_faults
        faults.interrupt = self._random.choice((0.1, 0.5))
        faults.read = self._random.choice((0.0, 0.2))
        faults.fence = self._random.choice((0.0, 0.3))
        self.world.note(f"commits break: {faults}")
        await asyncio.sleep(self._random.choice((0.5, 5.0, 30.0)))
        faults.end()

    async def _refuse(self) -> None:
        topic = topic_name(
            self._random.choice(
                (
                    LogicalTopic.DEAD_LETTERS,
                    LogicalTopic.DEAD_LETTERS,
                    LogicalTopic.VERDICTS,
                    LogicalTopic.STATES,
                )
            )
        )
        self.world.cluster.refused.add(topic)
        self.world.note(f"{topic} refuses writes")
        await asyncio.sleep(self._random.choice((0.5, 20.0, 120.0)))
        self.world.cluster.refused.discard(topic)
        self.world.note(f"{topic} takes writes again")

    async def _foreign(self) -> None:
        cluster = self.world.cluster
        partition = self._random.randrange(self.world.partitions)
        topic = topic_name(self._random.choice((LogicalTopic.JOURNAL, LogicalTopic.NOTICES)))
        name = f"foreign-{self.world.loop.steps}"
        epoch = cluster.init_producer(name)
        if topic == topic_name(LogicalTopic.JOURNAL):
            cluster.produce(name, epoch, topic, partition, key=b"position", value=b"x", headers=())
        else:
            cluster.produce(name, epoch, topic, partition, key=None, value=b"x", headers=())
        self.world.note(
            f"a foreign transaction stands open in {topic} {partition}, and is aborted after 10 s"
        )

    async def _hold(self) -> None:
        world = self.world
        until = world.now() + self._random.choice((1_000, 30_000, 600_000))
        step = self._random.choice((None, *Step))
        world.hold(SimHold(step=step, until_at=until))
        world.note(f"a hold on {step or 'all steps'} until {until}")

    async def _stop_line(self) -> None:
        line = self._random.choice(sorted(set(LINES.values())))
        self.world.side.stopped.add(line)
        self.world.note(f"line {line} is stopped")
        await asyncio.sleep(self._random.choice((1.0, 30.0, 300.0)))
        self.world.side.stopped.discard(line)
        self.world.note(f"line {line} works again")

    async def _jump(self) -> None:
        self.world.jump(self._random.choice((HOUR_MS, -HOUR_MS, 1_000, -1_000)))

    def _someone(self) -> SimWorker | None:
        running = [
            worker
            for worker in self.world.workers
            if worker.process.life is Life.RUNS and worker.cut_at is None
        ]
        return self._random.choice(running) if running else None

    # --- the calm ----------------------------------------------------------------------

    async def _calm(self) -> None:
        world = self.world
        world.log_faults.end()
        world.cluster.refused.clear()
        world.side.stopped.clear()
        for worker in list(world.workers):
            if worker.process.life is Life.FROZEN:
                world.thaw(worker)
            elif worker.cut_at is not None:
                world.mend(worker)
        await asyncio.sleep(SESSION)
        if not world.workers:
            world.hire()
        for partition, owner in world.owners.items():
            if owner is None or owner.process.life is Life.DEAD:
                world.give(partition, self._random.choice(world.workers))
        world.note("calm")

    async def _rest(self) -> None:
        """Wait until nothing is open any more, with growing pauses."""
        start, pause = self.world.loop.time(), 10.0
        while (open_things := self._open()) and self.world.loop.time() - start < REST_LIMIT:
            await asyncio.sleep(pause)
            pause = min(pause * 2, 1800.0)
        if open_things:
            lines = "\n".join(str(thing) for thing in open_things)
            raise Restless(
                f"after {REST_LIMIT} s still open:\n{lines}\nwaiting:\n{self.world.loop.waiting()}"
            )
        # What comes late shall have come: an answer under way, a commit, a letter.
        await asyncio.sleep(120)
        self.world.note("at rest")

    def _open(self) -> list[object]:
        history = read_history(self.world.cluster, partitions=self.world.partitions, with_bytes=False)
        return [violation for violation in check(history) if violation.promise in {"P1", "P7"}]

    # --- the restart ---------------------------------------------------------------------

    async def _restart(self) -> None:
        """Kill all workers and start others: what has come to rest stays as it is."""
        world = self.world
        before = self._marks()
        for partition in range(world.partitions):
            for topic in (LogicalTopic.JOURNAL, LogicalTopic.DEAD_LETTERS):
                if self._random.random() < 0.5:
                    world.cluster.compact(topic_name(topic), partition, keep_ms=0)
        for worker in list(world.workers):
            world.kill(worker)
            world.replace(worker)
        await asyncio.sleep(RESTART_WATCH)
        if before != self._marks():
            self.violations.append(
                Violation("P2", f"a restart at rest changed something: {before} became {self._marks()}")
            )

    def _marks(self) -> dict[str, int]:
        topics = (
            LogicalTopic.STATES,
            LogicalTopic.DEAD_LETTERS,
            LogicalTopic.VERDICTS,
            LogicalTopic.REQUESTS,
        )
        counts = {
            topic.value: sum(
                len(self.world.cluster.archive(topic_name(topic), partition))
                for partition in range(self.world.partitions)
            )
            for topic in topics
        }
        return counts | {"attempts": len(self.world.side.ledger)}
