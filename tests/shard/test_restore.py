"""What is restored is what was: memory, blocks of what is remembered, and a journal's hostile contents."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.states import Step
from contracts.topics import LogicalTopic
from tests.shard.desk import FAILED, LINE_STOP, REFUSED, SILENCE, Desk, home, success
from worker.ports import Input, JournalRecord
from worker.shard import claim
from worker.shard.journal import JournalUnreadable
from worker.shard.remember import Remembering
from worker.shard.seen import ENTRY_BYTES, HOUR_MS, BlockKey, Seen, pack

if TYPE_CHECKING:
    from worker.shard.memory import Memory

pytestmark = pytest.mark.promise("P1", "P12")

BINDINGS = [home("a"), home("b"), home("c")]


def shape(memory: Memory) -> dict[str, Any]:
    """Return all that a restored memory must share with the one that wrote its journal."""
    return {
        "position": memory.position,
        "keys": memory.fingerprint_keys,
        "entries": {
            key: (
                entry.saga,
                entry.order,
                entry.sealed,
                entry.packed,
                entry.lettered,
                entry.counted,
                sorted(entry.dead),
                entry.ended_at,
                entry.offered_since,
            )
            for key, entry in memory.entries.items()
        },
        "loose": {key: (loose.record, loose.sealed, loose.packed) for key, loose in memory.loose.items()},
        "lanes": {
            name: (lane.active, lane.queue, sorted(lane.parked)) for name, lane in memory.lanes.items()
        },
        "lines": {name: line.record for name, line in memory.lines.items()},
        "dead": memory.dead,
        "noticed": memory.noticed,
        "ended": sorted(memory.ended),
        "live": (memory.live, memory.live_bytes),
        "requests": memory._by_request,  # noqa: SLF001 - what finds repetitions
        "targets": {
            digest: sorted(owners)
            for digest, owners in memory._by_target.items()  # noqa: SLF001 - what finds sagas by them
        },
        "seen": remembered(memory.seen),
    }


def remembered(seen: Seen) -> list[bytes]:
    """Return all entries of what is remembered."""
    return sorted(
        bytes(bucket[at : at + ENTRY_BYTES])
        for bucket in seen._buckets  # noqa: SLF001 - nothing else lists them
        if bucket
        for at in range(0, len(bucket), ENTRY_BYTES)
    )


async def something(desk: Desk, random: Random) -> None:
    """Let one random thing happen."""
    binding, token = random.choice(BINDINGS), f"token-{random.randrange(3)}"
    letters = list(desk.letters().items())
    match random.randrange(10):
        case 0:
            desk.notice(bindingId=binding, accessToken=token)
        case 1:
            value = random.choice((None, b"junk", b"x" * 3_000))
            desk.send(LogicalTopic.REQUESTS, value)
        case 2 | 3 if letters:
            key, letter = random.choice(letters)
            desk.command(key, letter.sequence, discard=random.random() < 0.3, force=True)
        case 4:
            desk.holds.until = {Step.CANCEL_TOKEN: desk.now() + random.randrange(20_000)}
            desk.shard.holds_changed()
        case 5:
            await desk.rest(random.random() * 900)
        case 6 if random.random() < 0.3:
            await desk.shard.drain()
            await desk.open()
        case _:
            agreement = {
                "authMerchantId": "m",
                "merchantAgreementId": token,
                "activatedVia": "bills_and_utilities",
            }
            if random.random() < 0.3:
                desk.request(binding, token, agreement=agreement)
            else:
                desk.request(binding, token)
    await desk.rest(random.random() * 3)


@settings(max_examples=40, deadline=None, database=None)
@given(seed=st.integers(0, 2**32))
def test_a_restored_memory_equals_the_one_that_wrote_the_journal(seed: int) -> None:
    """Whatever has happened, the journal tells all of what the shard knows, and no more."""
    random = Random(seed)  # noqa: S311 - a seed, no secret
    desk = Desk(
        record_bytes=2_000,
        remembering=Remembering(time_ms=2 * HOUR_MS, bytes=random.choice((200, 10_000))),
    )

    async def story() -> None:
        await desk.open()
        for step in Step:
            desk.hub.answers[step] = [
                random.choice((SILENCE, FAILED, REFUSED if step is Step.CONSULT else SILENCE, LINE_STOP))
                if random.random() < 0.4
                else success(step)
                for _ in range(12)
            ]
        for _ in range(random.randrange(25)):
            await something(desk, random)
        await desk.shard.drain()
        assert shape(desk.memory) == shape(desk.restored())

    desk.play(story())


def test_blocks_take_over_ended_sagas_and_are_searched(desk: Desk) -> None:
    """Ten minutes after its end a saga is 20 bytes a name, and still known after a restart."""

    async def story() -> None:
        await desk.open()
        desk.request(BINDINGS[0], event_id="one")
        await desk.until(lambda: "unbound" in desk.told())
        await desk.rest(700)
        assert {key.partition(":")[0] for key in desk.journal()} == {"position", "seen"}
        assert desk.memory.entries == {}
        for restart in (False, True):
            if restart:
                await desk.crash()
            desk.request(BINDINGS[0], event_id="one")
            await desk.rest()
        assert desk.told().count("requested") == 1
        desk.request(BINDINGS[0], event_id="two")
        await desk.until(lambda: desk.told().count("unbound") == 2)
        assert len(desk.hub.calls) == 2

    desk.play(story())


@pytest.mark.parametrize(
    "remembering", [Remembering(time_ms=3 * HOUR_MS), Remembering(bytes=100)], ids=["time", "bytes"]
)
def test_the_oldest_is_forgotten(remembering: Remembering) -> None:
    """What is too old or too much is forgotten by the hour, and its request is a new one then."""
    desk = Desk(remembering=remembering)

    async def story() -> None:
        await desk.open()
        for hour in range(8):
            desk.request(BINDINGS[0], f"token-{hour}", event_id=f"event-{hour}")
            await desk.rest(3_600)
        assert len([key for key in desk.journal() if key.startswith("seen:")]) <= 5
        desk.request(BINDINGS[0], "token-7", event_id="event-7")
        desk.request(BINDINGS[0], "token-0", event_id="event-0")
        await desk.until(lambda: desk.position(Input.REQUESTS) == 10)
        await desk.rest()
        assert desk.told().count("requested") == 9
        assert shape(desk.memory)["seen"] == shape(desk.restored())["seen"]

    desk.play(story())


@given(
    hours=st.lists(st.tuples(st.integers(0, 3), st.lists(st.binary(min_size=16, max_size=16), max_size=20)))
)
def test_forgetting_leaves_what_the_remaining_blocks_hold(hours: list[tuple[int, list[bytes]]]) -> None:
    """Whatever moments the entries have, forgetting an hour drops its blocks' entries and no other."""
    live, hour, blocks = Seen(), 0, []
    for gap, digests in hours:
        hour += gap
        key = live.next_key(now_at=hour * HOUR_MS)
        block = pack((digest, (hour - index) * HOUR_MS) for index, digest in enumerate(digests))
        live.add(key, block)
        blocks.append((key, block))
    oldest = live.oldest_hour()
    if oldest is not None:
        gone = live.outdated(horizon_at=(oldest + 1) * HOUR_MS, most_bytes=0)
        live.forget(oldest)
        blocks = [(key, block) for key, block in blocks if key not in gone]
    again = Seen()
    again.load(reversed(blocks))
    assert remembered(live) == remembered(again)
    assert len(live) == len(again) == sum(len(block) for _, block in blocks) // ENTRY_BYTES


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"other:1", b"{}"),
        (b"\xff", b"{}"),
        (b"position", b"junk"),
        (b"state:x", b'{"v": 2}'),
        (b"state:x", b'{"v": 1}'),
        (b"seen:x:1", b""),
        (b"seen:1:1", b"short"),
        (b"dead:xyz", b'{"v": 1, "at": 1}'),
        (b"dead:00", b'{"v": 1}'),
        (b"line:hub", b'{"v": 1}'),
        (b"request:x", b""),
    ],
)
def test_a_journal_record_that_cannot_be_read_closes_the_shard(key: bytes, value: bytes) -> None:
    """A record of a newer version, or a garbled one, is named: the shard must not open half-blind."""
    with pytest.raises(JournalUnreadable):
        claim.build({key: JournalRecord(key, value)})


def test_unknown_members_of_a_state_are_kept(desk: Desk) -> None:
    """What a newer version wrote beside is written back, so that it can be rolled forward again."""

    async def story() -> None:
        await desk.open()
        desk.hub.slow = asyncio.Event()
        desk.request(BINDINGS[0])
        await desk.until(lambda: desk.hub.calls)
        (entry,) = desk.memory.entries.values()
        entry.extra = {"newer": [1, 2]}
        desk.request(BINDINGS[0])
        await desk.until(lambda: "joined" in desk.told())
        (restored,) = desk.restored().entries.values()
        assert restored.extra == {"newer": [1, 2]}

    desk.play(story())


def test_blocks_have_names_that_no_block_had() -> None:
    """A clock that goes back does not give a block an older name."""
    seen = Seen()
    first = seen.next_key(now_at=10 * HOUR_MS)
    seen.add(first, b"")
    assert seen.next_key(now_at=2 * HOUR_MS) == BlockKey(10, 1)
