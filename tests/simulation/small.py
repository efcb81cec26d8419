"""Small, fixed scenarios for the systematic mode: a mishap comes right before step N, for every N.

Together they pass through every await of a shard, so that a kill finds it there.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from contracts.commands import REPLAY_REQUESTED
from contracts.requests import UNBINDING_REQUESTED
from contracts.states import Step
from contracts.topics import LogicalTopic, topic_name
from contracts.wire import rfc3339
from tests.simulation.cluster import ConcurrentTransactions
from tests.simulation.hub import Act
from tests.simulation.loop import Life
from tests.simulation.post import Post
from tests.simulation.rest import Rest
from tests.simulation.scenario import Outcome, conclude
from tests.simulation.setting import RECORD_BYTES, Setting
from tests.simulation.world import SESSION, World

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.simulation.process import Ports, Shard, SimWorker

REST_LIMIT = 3_600.0
RESTART_AFTER = 0.5


class Mishap(Enum):
    """What happens to a worker at step N."""

    KILL = "kill"
    """Killed, and replaced by another."""
    FREEZE = "freeze"
    """Frozen until its session has ended and another worker owns the partition, then thawed."""
    MOVE = "move"
    """The partition moves to another worker, and back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Small:
    """A fixed scenario of one partition, and how its sagas must end whatever happens to a worker."""

    act: Callable[[World, Post], Awaitable[None]]
    ends: dict[str, int]
    setting: Setting = field(default_factory=Setting)
    acts: dict[tuple[str, Step], list[Act]] = field(default_factory=dict)
    workers: int = 1


def play_small(
    small: Small,
    *,
    make_shard: Callable[[Ports], Shard],
    mishap: Mishap | None = None,
    at: int = 0,
) -> tuple[Outcome, bool]:
    """Run the scenario with a mishap before step `at`; say also whether it came to rest before that."""
    world = World(0, make_shard=make_shard, partitions=1, calm=True, setting=small.setting)
    world.side.acts = {place: list(acts) for place, acts in small.acts.items()}
    world.side.dead_token_is_success = False
    post = Post(world=world, bindings=("binding-a", "binding-b"))
    struck: list[Mishap] = []
    untouched = True

    async def tell() -> None:
        nonlocal untouched
        world.give(0, world.hire())
        for _ in range(1, max(small.workers, 1 if mishap in (None, Mishap.KILL) else 2)):
            world.hire()
        if mishap is not None:
            _plan(world, mishap, at=at, struck=struck)
        await asyncio.sleep(0.1)
        await small.act(world, post)
        await _serve(world)
        untouched = not struck
        await Rest(world).come(limit_s=REST_LIMIT)

    return conclude(at, world, tell(), post=post), untouched


def ends_of(outcome: Outcome) -> dict[str, int]:
    """Count the last states of all sagas."""
    return dict(Counter({event.saga_id: event.state for event in outcome.history.states}.values()))


def _plan(world: World, mishap: Mishap, *, at: int, struck: list[Mishap]) -> None:
    """Let the mishap come to the partition's owner right before step `at`; the list has it then."""

    def strike() -> None:
        struck.append(mishap)
        worker = world.owners[0]
        if worker is None or worker.process.life is not Life.RUNS:
            return
        match mishap:
            case Mishap.KILL:
                world.kill(worker)
                world.network.outside(RESTART_AFTER, lambda: world.replace(worker))
            case Mishap.FREEZE:
                world.freeze(worker)
                world.network.outside(SESSION + 5, lambda: world.thaw(worker))
            case Mishap.MOVE:
                world.loop.spawn(None, _there_and_back(world, worker), name="move")

    world.at_step(at, strike)


async def _there_and_back(world: World, worker: SimWorker) -> None:
    others = [other for other in world.workers if other is not worker]
    await world.move(0, others[0] if others else world.hire())
    await asyncio.sleep(world.random.random())
    await world.move(0, worker)


async def _serve(world: World) -> None:
    """Let the partition come to a worker that lives, whatever the scenario and the mishap left behind."""
    await asyncio.sleep(SESSION + 10)
    owner = world.owners[0]
    if owner is None or owner not in world.workers:
        world.give(0, world.workers[0] if world.workers else world.hire())


def _ask(post: Post, token: str, *, binding: str = "binding-a", **more: Any) -> None:
    post.begin(token, post.world.random)
    post.secrets.add(f"secret-{token}")
    data = {
        "bindingId": binding,
        "initiator": "wallet",
        "requestedAt": rfc3339(post.world.now()),
        "authClientId": "client-1",
        "referenceMerchantId": "merchant-1",
        "accessToken": f"secret-{token}",
    }
    post.append(LogicalTopic.REQUESTS, data | more, post.headers(UNBINDING_REQUESTED), partition=0)


# --- the scenarios -----------------------------------------------------------------------


async def _revoke(_: World, post: Post) -> None:
    """Send three requests: answers are lost, a cancel is in doubt, one fails; two meet in one lane."""
    agreement = {
        "authMerchantId": "auth",
        "merchantAgreementId": "agreement-1",
        "activatedVia": "bills_and_utilities",
    }
    _ask(post, "1", agreement=agreement)
    _ask(post, "2", binding="binding-b")
    _ask(post, "3")
    await asyncio.sleep(60)


async def _order(world: World, post: Post) -> None:
    """Have a request parked that is too large to be copied; its replay reads it again at its origin."""
    _ask(post, "1", passThroughInfo="x" * RECORD_BYTES)
    _ask(post, "2")
    letters = topic_name(LogicalTopic.DEAD_LETTERS)
    while not world.cluster.committed(letters, 0):  # noqa: ASYNC110 - time is simulated
        await asyncio.sleep(1)
    post.begin("command", world.random)
    command = {
        "letter": "unbinding.requests/0/0",
        "expectedSequence": 0,
        "planId": "plan-1",
        "by": "on-call",
        "why": "a test",
        "from": "failed_step",
    }
    post.append(LogicalTopic.COMMANDS, command, post.headers(REPLAY_REQUESTED), partition=0)
    await asyncio.sleep(5)


async def _move(world: World, post: Post) -> None:
    """Move the partition with calls in flight and in line, there and back, to itself, and let it go."""
    first = world.workers[0]
    other = world.workers[1] if len(world.workers) > 1 else world.hire()
    world.side.in_line_s = 2.0
    _ask(post, "1")
    _ask(post, "2", binding="binding-b")
    await asyncio.sleep(1.0)
    await world.move(0, other)
    # Away again while it claims, and back while nobody else has written.
    await world.move(0, first if first in world.workers else other)
    await asyncio.sleep(8)
    for _ in range(2):
        owner = world.owners[0]
        if owner in world.workers and owner is not None:
            await world.move(0, owner)
            await asyncio.sleep(0.5)
    _ask(post, "3")
    await asyncio.sleep(1.0)
    owner = world.owners[0]
    if owner is not None and owner in world.workers:
        await world.leave(owner)
        world.replace(owner)
    await asyncio.sleep(10)


async def _break(world: World, post: Post) -> None:
    """Break off a commit, let a stranger fence, let the lease run out while calls stand in line."""
    _ask(post, "1")
    # Until its call is under way: what is held has to be read before.
    await asyncio.sleep(2.5)
    world.log_faults.interrupt = 1.0
    _ask(post, "2", binding="binding-b")
    await asyncio.sleep(0.5)
    world.log_faults.end()
    await asyncio.sleep(8)
    worker = world.workers[0] if world.workers else None
    if worker is not None:
        world.cut(worker)
    await asyncio.sleep(5)
    with suppress(ConcurrentTransactions):
        world.cluster.init_producer("unbinding-0")
    _ask(post, "3", binding="binding-b")
    await asyncio.sleep(8)
    if worker is not None and worker in world.workers:
        world.mend(worker)
    await asyncio.sleep(6)
    world.side.in_line_s = 14.0
    _ask(post, "4", binding="binding-a")
    worker = world.workers[0] if world.workers else None
    if worker is not None:
        world.cut(worker)
    await asyncio.sleep(15)
    if worker is not None and worker in world.workers:
        world.mend(worker)
    await asyncio.sleep(25)


SMALL: dict[str, Small] = {
    "revoke": Small(
        act=_revoke,
        ends={"unbound": 2, "parked": 1},
        acts={
            ("token:secret-1", Step.CANCEL_TOKEN): [Act.LOST_ANSWER] * 3,
            ("agreement:auth/agreement-1", Step.CANCEL_AGREEMENT): [Act.UNKNOWN_DONE],
            ("token:secret-3", Step.CONSULT): [Act.FAIL] * 9,
        },
    ),
    "order": Small(act=_order, ends={"unbound": 2}, setting=Setting(lingers=True)),
    "move": Small(act=_move, ends={"unbound": 3}, workers=2),
    "break": Small(
        act=_break,
        ends={"unbound": 4},
        acts={("token:secret-1", Step.CONSULT): [Act.LOST]},
    ),
}
"""By name."""
