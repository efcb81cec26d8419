"""Drives sagas: says to the pure core what happened, and puts what it decides into memory and the unit."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from contracts.requests import RebindingRequested
from contracts.states import Evidence, Reason, State, Step
from contracts.wire import ContractError, clean_message
from worker.saga.decide import decide
from worker.saga.inputs import (
    Answered,
    Ask,
    Begin,
    Broke,
    Died,
    FellDue,
    Finish,
    HoldEnded,
    HoldFound,
    LineFound,
    LineTried,
    NotBegunYet,
    Park,
    Perform,
    Requeue,
    Rest,
    Restored,
    Resumed,
    Wake,
)
from worker.saga.model import Phase
from worker.saga.results import ResultClass
from worker.shard import lanes
from worker.shard.faults import Blame
from worker.shard.lines import Lines
from worker.shard.unsealing import RequestGone, meta_of, request_of
from worker.shard.vault import VaultError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from contracts.requests import UnbindingRequested
    from worker.ports import Holds
    from worker.saga.inputs import Decision, Happened
    from worker.saga.model import Target
    from worker.saga.patience import Rules
    from worker.saga.results import Result
    from worker.shard.memory import Entry, Memory
    from worker.shard.under_way import CallUnderWay
    from worker.shard.unit import Unit
    from worker.shard.vault import Vault

_COLD: Final = frozenset({Phase.QUEUED, Phase.WAITING, Phase.HELD, Phase.STOPPED, Phase.PARKED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the driver needs beside the memory; the same for every unit of a shard."""

    vault: Vault
    rules: Rules
    holds: Holds
    line_of: Callable[[Step], str]
    chance: Callable[[], float]


class Driver:
    """Applies decisions. Synchronous, without I/O: it fills units, the shard commits them."""

    def __init__(
        self,
        memory: Memory,
        surroundings: Surroundings,
        doomed: Mapping[str, tuple[Reason, str]] = MappingProxyType({}),
    ) -> None:
        """``doomed`` says of sagas whose handling raised before why they are parked at their turn."""
        self._memory = memory
        self._around = surroundings
        self._doomed = doomed
        self._lines = Lines(memory)
        self._closing = False

    # --- one thing that happened ----------------------------------------------

    def happen(
        self,
        unit: Unit,
        entry: Entry,
        happened: Happened,
        *,
        causation_id: str | None = None,
        dead_at: Callable[[bytes], int | None] | None = None,
    ) -> None:
        """Let something happen to a saga, and do what follows, until it rests, waits, calls or ends.

        ``dead_at`` says since when a target is dead of which the saga learns now (without it: since now).
        Raises IllegalMove, with nothing changed, where it cannot happen.
        """
        decision = self._decide(unit, entry, happened)
        self._apply(unit, entry, decision, causation_id=causation_id, dead_at=dead_at)

    def resume_only(self, unit: Unit, entry: Entry, *, causation_id: str | None) -> None:
        """Publish that a saga was resumed without giving it a turn: the caller parks it again."""
        decision = self._decide(unit, entry, Resumed())
        self._take(unit, entry, decision, causation_id=causation_id)
        self._memory.stand(entry, letter=False)
        self._memory.count_in(entry)

    def _decide(self, unit: Unit, entry: Entry, happened: Happened) -> Decision:
        around = self._around
        return decide(entry.saga, happened, now_at=unit.now_at, rules=around.rules, chance=around.chance())

    def _apply(
        self,
        unit: Unit,
        entry: Entry,
        decision: Decision,
        *,
        causation_id: str | None,
        dead_at: Callable[[bytes], int | None] | None = None,
    ) -> None:
        while True:
            self._take(unit, entry, decision, causation_id=causation_id, dead_at=dead_at)
            match decision.action:
                case Ask(step=step):
                    found = self._before(unit, entry, step)
                    if found is None:
                        self._memory.postponed[entry.key] = None
                        return
                    decision = self._decide(unit, entry, found)
                    continue
                case Perform(call=call):
                    # A later decision of the same unit replaces it.
                    unit.calls[entry.key] = call
                case Wake():
                    self._memory.wake(entry)
                case Rest():
                    pass
                case Park(reason=reason, message=message):
                    lanes.park(unit, self._memory, entry, decision, reason=reason, message=message)
                    self.give_turn(unit, entry.saga.binding_id)
                case Requeue():
                    lanes.requeue(unit, self._memory, entry)
                    self.give_turn(unit, entry.saga.binding_id)
                case Finish():
                    self._finish(unit, entry)
            if entry.saga.phase in _COLD:
                entry.cool()
            return

    def _take(
        self,
        unit: Unit,
        entry: Entry,
        decision: Decision,
        *,
        causation_id: str | None,
        dead_at: Callable[[bytes], int | None] | None = None,
    ) -> None:
        """Put a decision into memory and unit; a call that no longer counts is let go."""
        before = entry.saga
        entry.saga = decision.saga
        if decision.saga is before:
            return
        unit.touch(entry)
        if decision.transitions:
            unit.publish(entry.saga, decision.transitions, meta=meta_of(entry), causation_id=causation_id)
        if entry.saga.done != before.done:
            self._note_dead(unit, entry, dead_at)
        self._keep_places(entry, before_phase=before.phase)

    def _note_dead(self, unit: Unit, entry: Entry, dead_at: Callable[[bytes], int | None] | None) -> None:
        """Note what died, and when: a later moment than the true one would bury what was bound again."""
        known = {digest for digest, _ in entry.dead}
        for target in entry.saga.dead_targets():
            if target.digest in known:
                continue
            since = None if dead_at is None else dead_at(target.digest)
            at = unit.now_at if since is None else since
            entry.dead += ((target.digest, at),)
            self._memory.note_dead(target.digest, at)

    def _keep_places(self, entry: Entry, *, before_phase: Phase) -> None:
        """Keep the maps of held and stopped sagas, and of calls, true to the phase."""
        memory, phase, key = self._memory, entry.saga.phase, entry.key
        if phase is before_phase:
            return
        if phase is not Phase.HELD:
            memory.held.pop(key, None)
        if phase is not Phase.DUE:
            memory.postponed.pop(key, None)
        if before_phase is Phase.STOPPED:
            self._lines.leave(key)
        if phase is Phase.STOPPED:
            self._lines.wait(self._around.line_of(_step(entry)), key)
        if before_phase is Phase.CALLING:
            self._let_go(entry)
        if phase not in (Phase.DUE, Phase.CALLING):
            self._lines.probe_no_more(key)

    def _let_go(self, entry: Entry) -> None:
        under_way = entry.call
        if under_way is None:
            return
        entry.call = None
        under_way.void = True
        if under_way.task is not None and not under_way.begun:
            under_way.task.cancel()

    # --- before a call ----------------------------------------------------------

    def _before(self, unit: Unit, entry: Entry, step: Step) -> Begin | HoldFound | LineFound | Broke | None:
        """Say what stands before the call; a request that cannot be opened is parked, and stops nobody."""
        try:
            return self._obstacle(unit, entry, step)
        except (VaultError, ContractError, RequestGone) as error:
            return _broke(Reason.CRASHED, str(error))

    def _obstacle(self, unit: Unit, entry: Entry, step: Step) -> Begin | HoldFound | LineFound | None:
        """Say what stands before the call; ``None`` while it is not known what is held."""
        if not self._around.holds.known():
            return None
        until = self._held_until(entry, step, now_at=unit.now_at)
        if until is not None:
            self._memory.hold(entry.key, until)
            return HoldFound()
        passes = self._lines.passes(self._around.line_of(step), entry.key, now_at=unit.now_at)
        return Begin() if passes else LineFound()

    def stands(self, under_way: CallUnderWay, entry: Entry, *, now_at: int) -> bool:
        """Tell whether the call may still begin: much may have come while it stood in line.

        A stopped line, a hold, or holds that are not known any more. Not the age of a permission: that counts
        when the revocation is decided. Asked for again here, it would grow old again at the end of a long
        line, and with a backlog of minutes hardly any revocation would ever begin.
        Raises RequestGone, VaultError and ContractError.
        """
        if self._lines.bars(under_way.line, entry.key) or not self._around.holds.known():
            return False
        return self._held_until(entry, under_way.call.step, now_at=now_at) is None

    def _held_until(self, entry: Entry, step: Step, *, now_at: int) -> int | None:
        """Return when the last hold on this call ends. Raises RequestGone, VaultError and ContractError."""
        request = request_of(entry, self._around.vault)
        return self._around.holds.held_until(
            step=step,
            auth_client_id=request.auth_client_id,
            merchants=_merchants(request),
            now_at=now_at,
        )

    # --- results ----------------------------------------------------------------

    def answered(self, unit: Unit, under_way: CallUnderWay, result: Result) -> None:
        """Take a call's result, unless evidence has overtaken it; and see what it says of the line."""
        entry = self._memory.entries.get(under_way.saga_id)
        counts = entry is not None and entry.call is under_way
        line_open = not self._lines.stopped(under_way.line)
        line_stop = result.result_class is ResultClass.LINE_STOP
        if not line_stop:
            self._lines.answered(unit, under_way, verified=result.verified)
        if entry is None or not counts:
            return
        entry.call = None
        if line_stop:
            self._lines.stop(unit, under_way, result)
        saga = entry.saga
        first = not saga.attempts and saga.clock_from == under_way.decided_at
        stood_ms = under_way.stood_ms if first else 0
        self.happen(unit, entry, Answered(result=result, line_open=line_open, stood_ms=stood_ms))

    def not_begun(self, unit: Unit, under_way: CallUnderWay) -> None:
        """Take back a decision whose call never began; the saga stays due."""
        entry = self._memory.entries.get(under_way.saga_id)
        if entry is None or entry.call is not under_way:
            return
        entry.call = None
        self.happen(unit, entry, NotBegunYet())

    def broke(
        self,
        unit: Unit,
        entry: Entry,
        *,
        reason: Reason,
        message: str,
        begun: bool = True,
        causation_id: str | None = None,
    ) -> None:
        """Park a saga that cannot go on here; the message is cleaned.

        ``begun``: bytes of a call under way may have left.
        """
        self.happen(unit, entry, _broke(reason, message, begun=begun), causation_id=causation_id)

    # --- lines --------------------------------------------------------------------

    def next_probe(self, *, now_at: int) -> int | None:
        """Return when the next stopped line is to be tried; not while it is unknown what is held."""
        return self._lines.next_probe(now_at=now_at) if self._around.holds.known() else None

    def probes(self, *, now_at: int) -> list[Entry]:
        """Name the sagas that try a stopped line now: the oldest of each where a probe is due."""
        due_at = self.next_probe(now_at=now_at)
        if due_at is None or due_at > now_at:
            return []
        return self._lines.probes(now_at=now_at)

    def try_line(self, unit: Unit, entry: Entry) -> None:
        """Let a stopped saga try whether its line works again."""
        self.happen(unit, entry, LineTried())

    # --- time and holds -------------------------------------------------------------

    def fell_due(self, unit: Unit, entry: Entry) -> None:
        """Fire a durable timer."""
        self.happen(unit, entry, FellDue())

    def look_again(self, unit: Unit, entry: Entry) -> None:
        """See whether a saga that was restored, held, stopped or postponed can go on now."""
        match entry.saga.phase:
            case Phase.HELD:
                self._look_at_hold(unit, entry)
            case Phase.STOPPED:
                if not self._lines.stopped(self._around.line_of(_step(entry))):
                    self.happen(unit, entry, LineTried())
            case Phase.DUE:
                self.happen(unit, entry, Restored())
            case Phase.CALLING if entry.call is None:
                self.happen(unit, entry, Restored())
            case _:
                return

    def _look_at_hold(self, unit: Unit, entry: Entry) -> None:
        if not self._around.holds.known():
            self._memory.postponed[entry.key] = None
            return
        self._memory.postponed.pop(entry.key, None)
        try:
            until = self._held_until(entry, _step(entry), now_at=unit.now_at)
        except (VaultError, ContractError, RequestGone) as error:
            self.happen(unit, entry, _broke(Reason.CRASHED, str(error)))
            return
        if until is None:
            self.happen(unit, entry, HoldEnded())
        else:
            self._memory.hold(entry.key, until)
            entry.cool()

    # --- lanes ------------------------------------------------------------------------

    def give_turn(self, unit: Unit, binding_id: str) -> None:
        """Give the lane's turn to its first queued saga, until one of them stays active."""
        memory = self._memory
        while (entry := lanes.call_up(memory, binding_id)) is not None:
            with Blame(entry.key):
                doom = self._doomed.get(entry.key)
                if doom is not None:
                    unit.settled.append(entry.key)
                    self.broke(unit, entry, reason=doom[0], message=doom[1])
                    continue
                self.happen(unit, entry, lanes.turn_of(memory, entry), dead_at=memory.dead_since)

    def _finish(self, unit: Unit, entry: Entry) -> None:
        saga = entry.saga
        lane = lanes.finish(unit, self._memory, entry)
        if saga.state is State.UNBOUND and not self._closing:
            self._close_parked(unit, tuple(lane.parked))
        self.give_turn(unit, saga.binding_id)

    def _close_parked(self, unit: Unit, parked: tuple[str, ...]) -> None:
        """Close those that want nothing else, in one look: each end would look at all the others again."""
        memory = self._memory
        self._closing = True
        try:
            for entry in (memory.entries[key] for key in parked):
                if lanes.wants_nothing_else(memory, entry.saga):
                    died = Died(targets=frozenset(entry.saga.targets), evidence=Evidence.ALREADY_UNBOUND)
                    self.happen(unit, entry, died, dead_at=memory.dead_since)
        finally:
            self._closing = False

    def died(
        self,
        unit: Unit,
        entry: Entry,
        targets: frozenset[Target],
        *,
        at: int,
        causation_id: str,
        announced: bool,
    ) -> None:
        """Tell a saga that targets of it are dead since ``at``.

        A letter that has lost its cause goes, unless its saga could then end a new agreement. ``announced``:
        the hub hears of the token from another saga.
        """
        saga = entry.saga
        new_agreement = saga.phase is Phase.PARKED and lanes.could_hit_new_agreement(
            self._memory, entry, saga
        )
        happened = Died(
            targets=targets, evidence=Evidence.NOTICE, new_agreement=new_agreement, announced=announced
        )
        self.happen(unit, entry, happened, causation_id=causation_id, dead_at=lambda _: at)


def _broke(reason: Reason, message: str, *, begun: bool = True) -> Broke:
    return Broke(reason=reason, message=clean_message(message), begun=begun)


def _step(entry: Entry) -> Step:
    if entry.saga.step is None:
        raise ValueError(f"saga {entry.key} is {entry.saga.phase} and has no step")
    return entry.saga.step


def _merchants(request: UnbindingRequested | RebindingRequested) -> tuple[str, ...]:
    if isinstance(request, RebindingRequested):
        return ()
    agreement = None if request.agreement is None else request.agreement.auth_merchant_id
    return tuple(name for name in (request.reference_merchant_id, agreement) if name is not None)
