"""One small, fixed scenario for the systematic mode: the worker is killed at step N, for every N."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING

import orjson

from contracts.cloudevents import event_headers
from contracts.requests import UNBINDING_REQUESTED
from contracts.states import Step
from contracts.topics import LogicalTopic, partition_of
from contracts.wire import rfc3339
from tests.simulation.hub import Act
from tests.simulation.scenario import Outcome, conclude_run
from tests.simulation.world import SESSION, World
from worker.verify.reader import read_history

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.process import Ports, Shard, SimWorker

TOKENS = ("secret-token-1", "secret-token-2", "secret-token-3")
REST_LIMIT = 1_800.0
RESTART_AFTER = 0.5


class Mishap(Enum):
    """What happens to the worker at step N."""

    KILL = "kill"
    """Killed, and replaced by another."""
    FREEZE = "freeze"
    """Frozen until its session has ended and another worker owns the partition, then thawed."""
    MOVE = "move"
    """The partition moves to another worker, and back."""


def play_small(*, make_shard: Callable[[Ports], Shard], mishap: Mishap, at: int) -> tuple[Outcome, bool]:
    """Run the scenario with a mishap before step `at`; say also whether it came to rest before that."""
    world = World(0, make_shard=make_shard, partitions=1, calm=True)
    # The first revoke's answers are lost, the agreement's cancel is in doubt, the third request fails.
    world.side.acts = {
        ("token:secret-token-1", Step.CANCEL_TOKEN): [Act.LOST_ANSWER] * 3,
        ("agreement:auth/agreement-1", Step.CANCEL_AGREEMENT): [Act.UNKNOWN_DONE],
        ("token:secret-token-3", Step.CONSULT): [Act.FAIL] * 9,
    }
    world.side.dead_token_is_success = False
    untouched = True

    async def tell() -> None:
        nonlocal untouched
        world.give(0, world.hire())
        if mishap is not Mishap.KILL:
            world.hire()
        struck = _plan(world, mishap, at)
        await asyncio.sleep(0.1)
        for number, token in enumerate(TOKENS, start=1):
            _send(world, number=number, token=token)
        await asyncio.sleep(90)
        untouched = not struck
        await _rest(world)

    outcome = conclude_run(0, world, tell(), tokens=TOKENS)
    return outcome, untouched


def _plan(world: World, mishap: Mishap, at: int) -> list[Mishap]:
    """Let the mishap come right before step `at`; the list that is returned has it then."""
    worker, struck = world.workers[0], list[Mishap]()

    def strike() -> None:
        struck.append(mishap)
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
    return struck


async def _there_and_back(world: World, worker: SimWorker) -> None:
    await world.move(0, world.workers[1])
    await asyncio.sleep(world.random.random())
    await world.move(0, worker)


def _send(world: World, *, number: int, token: str) -> None:
    # The first and the last request are of one binding: they meet in its lane.
    binding = "binding-a" if number != 2 else "binding-b"
    data = {
        "bindingId": binding,
        "initiator": "wallet",
        "requestedAt": rfc3339(world.now()),
        "authClientId": "client-1",
        "referenceMerchantId": "merchant-1",
        "accessToken": token,
    }
    if number == 1:
        data["agreement"] = {
            "authMerchantId": "auth",
            "merchantAgreementId": "agreement-1",
            "activatedVia": "bills_and_utilities",
        }  # type: ignore[assignment]  # an object among texts
    headers = event_headers(
        event_id=f"event-{number}", source="upstream", event_type=UNBINDING_REQUESTED, at=world.now()
    )
    partition = partition_of(binding, world.partitions)
    world.send(
        LogicalTopic.REQUESTS,
        key=binding.encode(),
        value=orjson.dumps(data),
        headers=headers,
        partition=partition,
    )


async def _rest(world: World) -> None:
    end = world.loop.time() + REST_LIMIT
    while world.loop.time() < end:
        history = read_history(world.cluster, partitions=1, with_bytes=False)
        last = {event.saga_id: event.state for event in history.states}
        if sorted(last.values()) == ["parked", "unbound", "unbound"]:
            break
        await asyncio.sleep(10)
    await asyncio.sleep(60)
