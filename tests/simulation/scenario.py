"""A whole run from a seed: what is sent, what goes wrong, how it comes to rest, and what the checker says."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from random import Random
from typing import TYPE_CHECKING

from contracts.states import Step
from contracts.topics import LogicalTopic, topic_name
from tests.simulation.gateways import Gateways
from tests.simulation.hub import Act
from tests.simulation.loop import Deadlock, Life, Livelock, run
from tests.simulation.oncall import OnCall
from tests.simulation.post import Post, token_of
from tests.simulation.rest import Rest, Restless
from tests.simulation.setting import draw
from tests.simulation.storm import Storm
from tests.simulation.subject import key_of
from tests.simulation.upkeep import Upkeep
from tests.simulation.upstream import Upstream
from tests.simulation.world import SESSION, World
from worker.verify.checker import Violation, check
from worker.verify.reader import read_history

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tests.simulation.crash_points import Point
    from tests.simulation.process import Ports, Shard
    from tests.simulation.setting import Setting
    from worker.verify.history import History, RequestSeen

BINDINGS = ("binding-a", "binding-b", "binding-c", "binding-d", "binding-e")
REST_LIMIT = 2 * 3600.0
"""Simulated seconds in which everything must have come to its end: longer than any patience."""
WATCHES = (*(20.0,) * 7, 700.0)
"""How long a restart at rest is watched, in simulated seconds; the long one outlasts every timer."""


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
    setting: Setting
    failure: str | None = None
    states: Counter[str] = field(default_factory=Counter)
    reached: Counter[str] = field(default_factory=Counter)
    """What the shards told, and which deeds were done."""
    moments: list[tuple[int, float]] = field(default_factory=list)
    """From which step on it was how late, in simulated seconds."""
    crash_points: frozenset[Point] = frozenset()
    deeds: tuple[str, ...] = ()
    """All that could be left out, by name."""

    @property
    def good(self) -> bool:
        """Whether all promises were kept."""
        return not self.broken

    @property
    def broken(self) -> frozenset[str]:
        """What was broken: promises by name, `misuse` of a port, or the kind of failure."""
        kinds = {violation.promise for violation in self.violations}
        if self.misuses:
            kinds.add("misuse")
        if self.failure is not None:
            kinds.add(self.failure.partition(":")[0])
        return frozenset(kinds)


@dataclass(slots=True, kw_only=True)
class Wildness:
    """How much goes wrong."""

    sends: int
    faults: int
    jumps: bool
    helpful: bool
    """The payment side mostly obeys."""


def play(
    seed: int, *, make_shard: Callable[[Ports], Shard], without: frozenset[str] = frozenset()
) -> Outcome:
    """Run the scenario of a seed to its end; the deeds in `without` are left out, the others stay."""
    random = Random(seed)  # noqa: S311 - a seed, no secret
    wildness = Wildness(
        sends=random.randint(3, 30),
        faults=random.choice((0, 1, 2, 4, 8)),
        jumps=random.random() < 0.15,
        helpful=random.random() < 0.5,
    )
    setting = draw(random)
    world = World(random.randrange(1 << 48), make_shard=make_shard, setting=setting)
    story = Story(world, random, wildness, seed=seed, without=without)
    outcome = conclude(seed, world, story.tell(), post=story.post)
    outcome.violations += story.violations
    outcome.deeds = tuple(story.deeds)
    outcome.setting = setting
    return outcome


def conclude(seed: int, world: World, main: Coroutine[object, object, None], *, post: Post) -> Outcome:
    """Run `main` in the world, read its history, and check it; no token or key may stand in it in clear."""
    failure = None
    try:
        run(world.loop, main)
    except (Deadlock, Livelock, Restless) as error:
        failure = f"{type(error).__name__}: {error}"
    keys = world.setting.keys
    history = read_history(
        world.cluster,
        partitions=world.partitions,
        attempts=world.side.ledger,
        secrets=[
            *(token.encode() for token in sorted(post.secrets)),
            *(key_of(name) for name in (*keys.sealing, *keys.prints)),
        ],
        at_rest=failure is None,
    )
    gone = _lost(history, world)
    requests = (
        _as_meant(request, post, world.setting) for request in history.requests if request.origin not in gone
    )
    history = replace(history, requests=tuple(requests))
    return Outcome(
        seed=seed,
        history=history,
        violations=check(history),
        misuses=world.misuses(),
        diary=world.diary,
        steps=world.loop.steps,
        seconds=world.loop.time(),
        setting=world.setting,
        failure=failure,
        states=Counter(event.state for event in history.states),
        reached=world.reached,
        moments=world.loop.moments,
        crash_points=frozenset(world.crash_points),
    )


def _lost(history: History, world: World) -> set[str | None]:
    """Name the requests that cannot have an end, by origin: retention took them, or their forwarded copies.

    One that was taken all the same stays, if it is the only one that its saga's events can speak of.
    """
    told = {(event.binding_id, request) for event in history.states for request in event.request_ids}
    left = {
        (request.binding_id, request.request_id)
        for request in history.requests
        if request.origin not in world.lost
    }
    lost = [
        request
        for request in history.requests
        if request.origin in world.lost and (request.binding_id, request.request_id) not in told - left
    ]
    return {request.origin for request in lost} | {request.forwarded_from for request in lost}


def _as_meant(request: RequestSeen, post: Post, setting: Setting) -> RequestSeen:
    """Say what a request wants, and whether it is consulted, as its sender and the profile have it."""
    sent = post.sent.get(request.request_id or "")
    if sent is None or "initiator" not in sent.data or not request.targets:
        return request
    return replace(request, targets=sent.wants, consulted=setting.consults(sent.data))


class Story:
    """What happens, in three acts: the storm, the calm, and a restart that must change nothing."""

    def __init__(
        self, world: World, random: Random, wildness: Wildness, *, seed: int, without: frozenset[str]
    ) -> None:
        self.world = world
        self.post = Post(world=world, bindings=BINDINGS)
        self.violations: list[Violation] = []
        self.deeds: list[str] = []
        self._seed = seed
        self._without = without
        self._random = random
        self._wild = wildness
        self._upkeep = Upkeep(world)

    async def tell(self) -> None:
        """Play all of it."""
        self._prepare()
        await asyncio.gather(self._send(), self._storm("a"), self._storm("b"))
        await self._calm()
        await Rest(self.world).come(limit_s=REST_LIMIT)
        await self._restart()

    def _prepare(self) -> None:
        world, random = self.world, self._random
        world.side.dead_token_is_success = random.random() < 0.5
        world.side.in_line_s = random.choice((0.0, 0.0, 0.0, 0.5, 8.0))
        world.skew_most_ms = random.choice((0, 0, 20, 1_500))
        if random.random() < 0.05:
            # The group knows an offset, the journal none: the fleet stays closed until a person says so.
            for partition in range(world.partitions):
                world.cluster.commit_group(topic_name(LogicalTopic.REQUESTS), partition, 0)
        workers = [world.hire() for _ in range(random.randint(1, 3))]
        for partition in range(world.partitions):
            world.give(partition, random.choice(workers))
        world.network.outside(random.random() * 2, world.commit_group)
        for binding in BINDINGS:
            targets = (
                *(f"token:{token_of(binding, number)}" for number in range(2)),
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
        weights = [1 if act is Act.STUMBLE else 4 for act in Act]
        return random.choices(list(Act), weights, k=random.choice((1, 1, 2, 4, 9, 60)))

    # --- the storm -------------------------------------------------------------------

    def _deed(self, name: str) -> Random | None:
        """Return a deed's own chance, `None` if it is left out: then the others stay as they are."""
        self.deeds.append(name)
        if name in self._without:
            return None
        return Random(f"{self._seed} {name}")  # noqa: S311 - a seed, no secret

    async def _send(self) -> None:
        upstream, gateways, oncall = Upstream(self.post), Gateways(self.post), OnCall(self.post)
        acts: dict[Callable[[], None], int] = {
            upstream.request: 24,
            upstream.repeat: 4,
            upstream.join: 6,
            upstream.flood: 2,
            upstream.rebind: 3,
            upstream.bound_again: 1,
            upstream.junk: 3,
            upstream.invalid: 2,
            upstream.large: 4,
            upstream.poison: 1,
            gateways.notice: 4,
            gateways.early_notice: 1,
            gateways.repeat: 1,
            gateways.junk: 1,
            oncall.command: 6,
            oncall.all_of_them: 2,
            oncall.again: 2,
            oncall.repeat: 2,
            oncall.insist: 1,
            oncall.junk: 1,
        }
        for number in range(self._wild.sends):
            pause = self._pause()
            chance = self._deed(f"send {number}")
            if chance is not None:
                self.post.begin(str(number), chance)
                chance.choices(list(acts), list(acts.values()))[0]()
            await asyncio.sleep(pause)

    async def _storm(self, name: str) -> None:
        storm = Storm(self.world, self._upkeep, jumps=self._wild.jumps)
        for number in range(self._wild.faults):
            await asyncio.sleep(self._pause())
            chance = self._deed(f"fault {name}{number}")
            if chance is not None:
                await storm.strike(chance)

    def _pause(self) -> float:
        return self._random.choice((0.0, 0.01, 0.3, 2.0, 15.0, 90.0)) * self._random.random()

    # --- the calm ----------------------------------------------------------------------

    async def _calm(self) -> None:
        world = self.world
        world.log_faults.end()
        world.network.slowness = 0.0
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
        await asyncio.sleep(SESSION)
        await self._upkeep.accept_loss(self._random)
        world.note("calm")

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
        await asyncio.sleep(self._random.choice(WATCHES))
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
