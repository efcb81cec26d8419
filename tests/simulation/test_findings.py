"""Faults that the simulation found, each as a small story of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from contracts.commands import REPLAY_REQUESTED
from contracts.requests import UNBINDING_REQUESTED
from contracts.states import Step
from contracts.topics import LogicalTopic
from contracts.wire import rfc3339
from tests.simulation.hub import Act
from tests.simulation.post import Post
from tests.simulation.process import POISON
from tests.simulation.scenario import conclude
from tests.simulation.setting import Setting
from tests.simulation.show import told
from tests.simulation.subject import make_shard
from tests.simulation.world import World

if TYPE_CHECKING:
    from tests.simulation.scenario import Outcome


def ask(
    post: Post, binding: str, *, poisoned: bool, padding: int = 0, expires_in_ms: int | None = None
) -> None:
    """Send a request of the binding, at which a mistake of ours raises, or not; `padding` in bytes."""
    name = post.next_id()
    data = {
        "bindingId": binding,
        "initiator": "wallet",
        "requestedAt": rfc3339(post.world.now()),
        "authClientId": "client-1",
        "referenceMerchantId": POISON if poisoned else "merchant-1",
        "accessToken": f"secret-{name}",
        "passThroughInfo": "x" * (padding or 1),
    }
    if expires_in_ms is not None:
        data["expiresAt"] = rfc3339(post.world.now() + expires_in_ms)
    post.append(LogicalTopic.REQUESTS, data, post.headers(UNBINDING_REQUESTED), partition=0)


def last_states(outcome: Outcome) -> list[str]:
    """Return the last state of each saga, sorted."""
    return sorted({event.saga_id: event.state for event in outcome.history.states}.values())


@pytest.mark.promise("P10")
@pytest.mark.fault("our own handling of a saga raises at its turn")
def test_sagas_that_raise_at_their_turn_are_parked_and_their_neighbours_served() -> None:
    """Sagas whose handling raises at their turn, also behind each other, are parked; the shard goes on."""
    world = World(1, make_shard=make_shard, partitions=1, calm=True)
    post = Post(world=world, bindings=("a", "b"))

    async def tell() -> None:
        world.give(0, world.hire())
        await asyncio.sleep(1)
        for binding, poisoned in (("a", True), ("a", True), ("a", False), ("b", False), ("b", True)):
            ask(post, binding, poisoned=poisoned)
        await asyncio.sleep(60)

    outcome = conclude(1, world, tell(), post=post)
    assert outcome.good, told(outcome)
    assert last_states(outcome) == ["parked", "parked", "parked", "unbound", "unbound"], told(outcome)


@pytest.mark.promise("P7", "P10")
@pytest.mark.fault("our own handling of a saga raises when it is replayed")
def test_replay_of_a_saga_that_raises_parks_it_again() -> None:
    """A replay of a saga whose handling raises is applied once, and parks it again; the shard goes on."""
    world = World(1, make_shard=make_shard, partitions=1, calm=True)
    post = Post(world=world, bindings=("a",))

    async def tell() -> None:
        world.give(0, world.hire())
        await asyncio.sleep(1)
        ask(post, "a", poisoned=True)
        await asyncio.sleep(30)
        letter = world.cluster.committed("unbinding.dead-letters", 0)[0]
        command = {
            "letter": (letter.key or b"").decode(),
            "expectedSequence": 2,
            "planId": "plan",
            "by": "on-call",
            "why": "a test",
            "from": "failed_step",
        }
        post.append(LogicalTopic.COMMANDS, command, post.headers(REPLAY_REQUESTED), partition=0)
        ask(post, "a", poisoned=False)
        await asyncio.sleep(60)

    outcome = conclude(1, world, tell(), post=post)
    assert outcome.good, told(outcome)
    assert last_states(outcome) == ["parked", "unbound"], told(outcome)
    assert [event.state for event in outcome.history.states].count("resumed") == 1


@pytest.mark.promise("P10")
@pytest.mark.fault("records that the topic refuses for good, one after the other")
def test_records_that_are_refused_for_good_are_parked_one_after_the_other() -> None:
    """Requests too large for the journal, with nothing between them, are all parked; the next is served."""
    world = World(1, make_shard=make_shard, partitions=1, calm=True, setting=Setting(record_most=5_000))
    post = Post(world=world, bindings=("a",))

    async def tell() -> None:
        world.give(0, world.hire())
        await asyncio.sleep(1)
        for padding in (4_700, 4_700, 4_700, 0):
            ask(post, "a", poisoned=False, padding=padding)
        await asyncio.sleep(900)

    outcome = conclude(1, world, tell(), post=post)
    assert outcome.good, told(outcome)
    assert last_states(outcome) == ["unbound"], told(outcome)
    assert [letter.reason for letter in outcome.history.letters] == ["unwritable"] * 3


@pytest.mark.promise("P4")
@pytest.mark.fault("no lease until expiresAt has passed")
def test_a_call_that_stood_in_line_until_it_expired_is_not_made() -> None:
    """A consult that had no lease until `expiresAt` has passed is not called any more: its saga lapses."""
    world = World(1, make_shard=make_shard, partitions=1, calm=True)
    post = Post(world=world, bindings=("a",))

    async def tell() -> None:
        worker = world.hire()
        world.give(0, worker)
        await asyncio.sleep(1)
        world.cut(worker)
        await asyncio.sleep(7)
        ask(post, "a", poisoned=False, expires_in_ms=2_000)
        await asyncio.sleep(5)
        world.mend(worker)
        await asyncio.sleep(60)

    outcome = conclude(1, world, tell(), post=post)
    assert outcome.good, told(outcome)
    assert last_states(outcome) == ["lapsed"], told(outcome)
    assert outcome.history.attempts == ()


@pytest.mark.promise("P4")
@pytest.mark.fault("an answer that never arrives, just before expiresAt")
def test_no_quick_try_after_the_users_time() -> None:
    """A consult without an answer is not tried again in process once `expiresAt` has passed."""
    world = World(1, make_shard=make_shard, partitions=1, calm=True)
    world.side.acts["token:secret-event-now", Step.CONSULT] = [Act.LOST]
    post = Post(world=world, bindings=("a",))

    async def tell() -> None:
        world.give(0, world.hire())
        await asyncio.sleep(1)
        post.begin("now", world.random)
        ask(post, "a", poisoned=False, expires_in_ms=2_000)
        await asyncio.sleep(60)

    outcome = conclude(1, world, tell(), post=post)
    assert outcome.good, told(outcome)
    assert last_states(outcome) == ["lapsed"], told(outcome)
    assert len(outcome.history.attempts) == 1
