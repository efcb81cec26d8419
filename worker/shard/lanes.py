"""What a saga's place in its lane means: whose turn it is, what it finds there, and how it leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.states import State, Step
from worker.saga.inputs import Inheritance, Turn
from worker.saga.model import Kind, Phase
from worker.shard.unsealing import meta_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from contracts.states import Reason
    from worker.saga.inputs import Decision
    from worker.saga.model import Saga
    from worker.shard.memory import Entry, Lane, Memory
    from worker.shard.unit import Unit


def call_up(memory: Memory, binding_id: str) -> Entry | None:
    """Make the lane's first queued saga the active one; ``None`` if there is one already, or nobody waits."""
    lane = memory.lanes.get(binding_id)
    if lane is None or lane.active is not None:
        return None
    if not lane.queue:
        memory.drop_if_empty(binding_id)
        return None
    entry = memory.entries[lane.queue.pop(0)]
    lane.active = entry.key
    return entry


def turn_of(memory: Memory, entry: Entry) -> Turn:
    """Say what a saga finds at its turn: targets that are dead by now, and what parked sagas attempted."""
    saga = entry.saga
    dead = frozenset(
        target for target in saga.targets if memory.known_dead(target, requested_at=saga.requested_at)
    )
    return Turn(dead=dead, inherited=_inheritance(memory, saga))


def _inheritance(memory: Memory, saga: Saga) -> Inheritance | None:
    """Collect what parked sagas of the lane attempted on this saga's targets."""
    lane = memory.lane(saga.binding_id)
    found = Inheritance()
    for key in lane.parked:
        parked = memory.entries[key].saga
        shared = {
            step
            for step in parked.attempted
            if (target := parked.target(step)) is not None and target in saga.targets
        }
        if shared:
            found = Inheritance(
                attempted=found.attempted | shared,
                undecided=found.undecided | (parked.undecided & shared),
                acquirer_id=found.acquirer_id or parked.acquirer_id,
                psp_id=found.psp_id or parked.psp_id,
            )
    return found if found.attempted else None


def park(
    unit: Unit, memory: Memory, entry: Entry, decision: Decision, *, reason: Reason, message: str | None
) -> None:
    """Put a saga aside with a dead letter; the lane is free for the next one."""
    unit.write_letter(entry, meta=meta_of(entry), transition=decision.transitions[-1], message=message)
    unit.park_note(entry, reason, message)
    lane = memory.leave_lane(entry)
    lane.parked[entry.key] = None
    memory.stand(entry, letter=True)
    memory.count_out(entry)
    entry.cool()


def requeue(unit: Unit, memory: Memory, entry: Entry) -> None:
    """Resolve the letter of a resumed saga, and queue it behind all others."""
    memory.stand(entry, letter=False)
    unit.resolve_letter(entry.key)
    lane = memory.leave_lane(entry)
    entry.order = memory.next_order()
    lane.queue.append(entry.key)
    memory.count_in(entry)


def finish(unit: Unit, memory: Memory, entry: Entry) -> Lane:
    """Take an ended saga out of its lane, its letter and its request out of the log; return the lane."""
    saga = entry.saga
    lane = memory.leave_lane(entry)
    if entry.lettered:
        memory.stand(entry, letter=False)
        unit.resolve_letter(entry.key)
    unit.drop_request(entry.key)
    unit.note(
        "saga.finished",
        saga_id=saga.saga_id,
        binding_id=saga.binding_id,
        state=str(saga.state),
        sequence=saga.sequence,
        steps=[str(step) for step in saga.done],
        evidence=saga.evidence,
        replays=saga.replays,
        request_id=meta_of(entry).event_id,
    )
    memory.count_out(entry)
    memory.retire(entry, now_at=unit.now_at)
    if saga.state is State.OFFERED:
        _mark_offered(unit, memory, lane.parked)
    return lane


def _mark_offered(unit: Unit, memory: Memory, parked: Iterable[str]) -> None:
    for key in parked:
        entry = memory.entries[key]
        if not entry.offered_since:
            entry.offered_since = True
            unit.touch(entry)


def could_hit_new_agreement(memory: Memory, entry: Entry, saga: Saga) -> bool:
    """Tell whether ``saga``, parked as ``entry``, could end a new agreement if it went on now.

    Its agreement is cancelled by name, and one that the user binds again may bear the same. So it counts if
    that cancel is still to come, even some steps later, and a rebinding was offered since, or is in the lane:
    what goes on now goes behind it. An agreement that is known to be dead is not called for at the turn.
    """
    if not saga.to_cancel_agreement:
        return False
    agreement = saga.target(Step.CANCEL_AGREEMENT)
    if agreement is not None and memory.known_dead(agreement, requested_at=saga.requested_at):
        return False
    return entry.offered_since or _has_rebinding(memory.lane(saga.binding_id), memory)


def _has_rebinding(lane: Lane, memory: Memory) -> bool:
    keys = lane.queue if lane.active is None else [lane.active, *lane.queue]
    return any(memory.entries[key].saga.kind is Kind.REBINDING for key in keys)


def announcer(memory: Memory, owners: Iterable[Entry]) -> Entry | None:
    """Choose which of a dead token's sagas tells the hub of it; ``None`` where none of them has that step.

    The first that moves or will have its turn, else a letter that the token's end sets going. A letter that
    stands in spite of it (expired, say) owes it only where nobody else does.
    """
    owing = (entry for entry in owners if _is_to_announce(entry.saga))
    return min(owing, key=lambda entry: (_way_to_announce(memory, entry), entry.order), default=None)


def _is_to_announce(saga: Saga) -> bool:
    return (
        saga.phase is not Phase.ENDED and Step.NOTIFY_HUB in saga.steps and Step.NOTIFY_HUB not in saga.done
    )


def _way_to_announce(memory: Memory, entry: Entry) -> int:
    """Return how much stands between a saga and its announcement, once its token is dead."""
    saga = entry.saga
    if saga.phase is not Phase.PARKED:
        return 0
    # Parked before its first step it had no call yet whose cause could go.
    stands = saga.step is None or could_hit_new_agreement(memory, entry, saga)
    return 2 if stands else 1


def wants_nothing_else(memory: Memory, saga: Saga) -> bool:
    """Tell whether all targets of a parked saga are dead now; a notice to the hub is still owed."""
    if not saga.targets or saga.step is Step.NOTIFY_HUB:
        return False
    return all(memory.known_dead(target, requested_at=saga.requested_at) for target in saga.targets)
