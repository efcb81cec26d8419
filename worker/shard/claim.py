"""Opens a shard: reads its journal into a memory, and checks that the log still has what comes next.

ShardClosed           the shard stays closed, says why, and tries again
├── JournalLost       the group has a commit, the journal has no position
├── PositionLost      an input's records were deleted, or the topic made anew, before they were taken
└── KeyMissing        the journal names a key that the rings lack
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from worker.crash_points import CrashPoint, pass_by
from worker.ports import Input
from worker.saga.model import Phase
from worker.shard import journal
from worker.shard.journal import JournalUnreadable, LetterRecord, StateRecord
from worker.shard.memory import ACTIVE, Entry, Line, Loose, Memory
from worker.shard.seen import BlockKey

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from contracts.states import Step
    from worker.crash_points import Passing
    from worker.ports import Bounds, JournalRecord, Log
    from worker.sealing.seal import Sealed
    from worker.shard.vault import Vault


# As it is written, and no other way: the record is removed under this very name.
_BLOCK_NAME: Final = re.compile(r"(0|[1-9]\d{0,9}):(0|[1-9]\d{0,9})", re.ASCII)


class ShardClosed(Exception):
    """The shard cannot open now; the text says why and what to do."""


class JournalLost(ShardClosed):
    """Requests were taken, and what became of them is not known."""


class PositionLost(ShardClosed):
    """The next record to take is not in the log any more."""


class KeyMissing(ShardClosed):
    """What is in the journal cannot be opened, or not be matched."""


async def restore(log: Log, *, passing: Passing = pass_by) -> Memory:
    """Read the journal whole. Raises LogError and JournalUnreadable."""
    latest: dict[bytes, JournalRecord] = {}
    async for records in log.journal():
        for record in records:
            if record.value is None:
                latest.pop(record.key, None)
            else:
                latest[record.key] = record
        passing(CrashPoint.RESTORING)
    return build(latest)


def build(latest: dict[bytes, JournalRecord]) -> Memory:
    """Return the memory that the latest records of a journal describe."""
    memory = Memory()
    requests: dict[str, tuple[Sealed | None, bytes]] = {}
    states: list[tuple[str, bytes]] = []
    blocks: list[tuple[BlockKey, bytes]] = []
    for key, record in latest.items():
        value = record.value
        if value is None:
            continue
        if key == journal.POSITION:
            position = journal.decode_position(value)
            memory.position = position.offsets
            memory.fingerprint_keys = set(position.fingerprint_keys)
            memory.position_extra = position.extra
            continue
        prefix, name = journal.kind_and_name(key)
        match prefix:
            case journal.STATE:
                states.append((name, value))
            case journal.REQUEST:
                requests[name] = journal.read_request_record(record)
            case journal.SEEN:
                blocks.append((_block_key(name), journal.decode_block(name, value)))
            case journal.DEAD:
                digest, at = journal.decode_dead(name, value)
                memory.noticed[digest] = at
                memory.note_dead(digest, at)
            case journal.LINE:
                memory.lines[name] = Line(journal.decode_line(name, value))
            case journal.ASIDE:
                pass  # a newer version's, for itself: it stays in the journal
            case _:
                raise journal.unknown_kind(key)
    memory.seen.load(blocks)
    _fill(memory, states, requests)
    return memory


def _block_key(name: str) -> BlockKey:
    found = _BLOCK_NAME.fullmatch(name)
    if found is None:
        raise JournalUnreadable(
            f"journal record {journal.SEEN}{journal.shown(name)} names no hour; run the version that wrote it"
        )
    return BlockKey(int(found[1]), int(found[2]))


def _fill(
    memory: Memory, states: Sequence[tuple[str, bytes]], requests: dict[str, tuple[Sealed | None, bytes]]
) -> None:
    entries: list[Entry] = []
    for key, value in states:
        record = journal.decode_state(key, value)
        sealed, packed = requests.pop(key, (None, b""))
        if isinstance(record, LetterRecord):
            memory.loose[key] = Loose(key=key, record=record, sealed=sealed, packed=packed)
            continue
        entries.append(_entry(record, sealed, packed))
    if requests:
        raise JournalUnreadable(
            f"journal record {journal.REQUEST}{journal.shown(min(requests))} has no state beside it: what "
            "became of it is lost; restore the journal topic, or run the version that wrote it"
        )
    for entry in sorted(entries, key=lambda entry: entry.order):
        memory.take_in(entry)
        _place(memory, entry)
    ended = [entry for entry in entries if entry.saga.phase is Phase.ENDED]
    memory.ended.extend(
        entry.key for entry in sorted(ended, key=lambda entry: (entry.ended_at or 0, entry.order))
    )


def _entry(record: StateRecord, sealed: Sealed | None, packed: bytes) -> Entry:
    return Entry(
        saga=record.saga,
        order=record.order,
        sealed=sealed,
        packed=packed,
        lettered=record.saga.phase is Phase.PARKED,
        dead=record.dead,
        ended_at=record.ended_at,
        offered_since=record.offered_since,
        extra=record.extra,
    )


def _place(memory: Memory, entry: Entry) -> None:
    """Put a restored saga into its lane, its timer, and among those to be looked at."""
    phase = entry.saga.phase
    if phase is Phase.ENDED:
        return
    lane = memory.lane(entry.saga.binding_id)
    if phase is Phase.PARKED:
        lane.parked[entry.key] = None
        return
    if phase is Phase.QUEUED:
        lane.queue.append(entry.key)
    elif phase in ACTIVE:
        lane.active = entry.key


def wake_up(memory: Memory, line_of: Callable[[Step], str]) -> None:
    """Set timers, and list who has to be looked at, as after every time that the shard was not open."""
    memory.forget_waits()
    for line in memory.lines.values():
        line.waiting.clear()
        line.probe = None
    for entry in memory.entries.values():
        phase = entry.saga.phase
        entry.call = None
        if phase in (Phase.WAITING, Phase.HELD, Phase.STOPPED):
            memory.wake(entry)
        if phase is Phase.STOPPED and entry.saga.step is not None:
            line_now = memory.lines.get(line_of(entry.saga.step))
            if line_now is not None:
                line_now.waiting[entry.key] = None
                continue
        if phase in (Phase.DUE, Phase.CALLING, Phase.HELD, Phase.STOPPED):
            memory.look_at((entry.key,))
    memory.look_at(lane.queue[0] for lane in memory.lanes.values() if lane.active is None and lane.queue)


def check_keys(memory: Memory, vault: Vault, *, given_up: frozenset[str]) -> None:
    """See that every key that the journal names is in the rings. Raises KeyMissing."""
    named = {entry.sealed.key_id for entry in memory.entries.values() if entry.sealed is not None}
    named |= {loose.sealed.key_id for loose in memory.loose.values() if loose.sealed is not None}
    _demand(named - vault.sealing_keys - given_up, "sealing")
    _demand(memory.fingerprint_keys - vault.fingerprint_keys - given_up, "fingerprint")


def given_up(memory: Memory, vault: Vault, *, keys: frozenset[str]) -> dict[str, str]:
    """Name the sagas whose sealing key was given up, and say so: they can only be parked."""
    gone = keys - vault.sealing_keys
    if not gone:
        return {}
    return {
        entry.key: f"sealing key {entry.sealed.key_id} was given up: its request cannot be opened"
        for entry in memory.entries.values()
        if entry.sealed is not None
        and entry.sealed.key_id in gone
        and entry.saga.phase not in (Phase.PARKED, Phase.ENDED)
    }


def _demand(missing: set[str], what: str) -> None:
    if missing:
        names = ", ".join(sorted(missing))
        raise KeyMissing(
            f"{what} key {names} is named in the journal and not in the key ring: put it back into the "
            f"keys file, or give it up with --give-up-key {min(missing)}"
        )


def first_position(memory: Memory, bounds: Bounds, *, partition: int, accept_loss: bool) -> dict[Input, int]:
    """Return where to take each input from. Raises JournalLost and PositionLost."""
    position = memory.position
    if position is None:
        if (bounds.group_committed is not None or memory.entries or memory.loose) and not accept_loss:
            raise JournalLost(
                f"partition {partition}: the group committed offset {bounds.group_committed}, and the "
                "journal has no position: requests were taken and what became of them is lost. Restore the "
                f"journal topic, or open it with --accept-loss {partition}: requests are then read from the "
                "log's beginning"
            )
        return dict(bounds.starts)
    checked: dict[Input, int] = {}
    for name in Input:
        start, end = bounds.starts[name], bounds.ends[name]
        offset = position.get(name, start)
        if start <= offset <= end:
            checked[name] = offset
            continue
        if not accept_loss:
            raise PositionLost(
                f"partition {partition} of {name}: the next record to take is at offset {offset}, the log "
                f"has {start} to {end}: records were deleted or the topic was made anew before they were "
                f"taken. Find out what was lost, then open it with --accept-loss {partition}"
            )
        checked[name] = start
    return checked
