"""Drives sagas: says to the pure core what happened, and puts what it decides into memory and the unit.

RequestGone    the journal has a saga and no longer its request
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from contracts.cloudevents import read_event
from contracts.requests import RebindingRequested, UnbindingRequested, read_request
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
    Inheritance,
    LineFound,
    LineTried,
    NotBegunYet,
    Park,
    Perform,
    Requeue,
    Rest,
    Restored,
    Resumed,
    Turn,
    Wake,
)
from worker.saga.model import Phase
from worker.saga.results import ResultClass
from worker.shard import journal
from worker.shard.faults import Blame
from worker.shard.journal import LineRecord
from worker.shard.memory import Hot, Line
from worker.shard.vault import VaultError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from worker.ports import Holds
    from worker.saga.inputs import Decision, Happened
    from worker.saga.model import Target
    from worker.saga.patience import Rules
    from worker.saga.results import Result
    from worker.shard.calls import CallUnderWay
    from worker.shard.journal import Meta
    from worker.shard.memory import Entry, Memory
    from worker.shard.unit import Unit
    from worker.shard.vault import Vault

PROBE_WAITS_MS: Final = (30_000, 60_000, 120_000, 300_000, 600_000)
"""The gaps between probes of a stopped line; the last one repeats."""

_COLD: Final = frozenset({Phase.QUEUED, Phase.WAITING, Phase.HELD, Phase.STOPPED, Phase.PARKED})


class RequestGone(Exception):
    """The journal has a saga and no longer its request: it cannot be called for."""


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

    def __init__(self, memory: Memory, surroundings: Surroundings) -> None:
        self._memory = memory
        self._around = surroundings
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
                    self._park(unit, entry, decision, reason=reason, message=message)
                case Requeue():
                    self._requeue(unit, entry)
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
            unit.publish(entry.saga, decision.transitions, meta=self.meta(entry), causation_id=causation_id)
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
            for line in memory.lines.values():
                line.waiting.pop(key, None)
        if phase is Phase.STOPPED:
            line_now = memory.lines.get(self._around.line_of(_step(entry)))
            if line_now is not None:
                line_now.waiting[key] = None
        if before_phase is Phase.CALLING:
            self._let_go(entry)
        if phase not in (Phase.DUE, Phase.CALLING):
            for line in memory.lines.values():
                if line.probe == key:
                    line.probe = None

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
        memory, holds = self._memory, self._around.holds
        if not holds.known():
            return None
        request = self.request(entry)
        until = holds.held_until(
            step=step,
            auth_client_id=request.auth_client_id,
            merchants=_merchants(request),
            now_at=unit.now_at,
        )
        if until is not None:
            memory.hold(entry.key, until)
            return HoldFound()
        name = self._around.line_of(step)
        line = memory.lines.get(name)
        if line is None:
            return Begin()
        if line.probe in (None, entry.key) and unit.now_at >= line.record.probe_at:
            line.probe = entry.key
            return Begin()
        return LineFound()

    def request(self, entry: Entry) -> UnbindingRequested | RebindingRequested:
        """Return the saga's request, opened if it was cold.

        Raises RequestGone, VaultError and ContractError.
        """
        if entry.hot is None:
            if entry.sealed is None:
                raise RequestGone("its request is not in the journal any more")
            value = self._around.vault.unseal(entry.sealed, key=entry.key)
            request = read_request(read_event(value, self.meta(entry).headers))
            if isinstance(request, UnbindingRequested):
                request = self._around.vault.clear_token(request)
            entry.hot = Hot(request)
        return entry.hot.request

    def meta(self, entry: Entry) -> Meta:
        """Return what is known of the saga's request beside its value."""
        if entry.meta is None:
            entry.meta = journal.decode_meta(entry.packed)
        return entry.meta

    # --- results ----------------------------------------------------------------

    def answered(self, unit: Unit, under_way: CallUnderWay, result: Result) -> None:
        """Take a call's result, unless evidence has overtaken it; and see what it says of the line."""
        entry = self._memory.entries.get(under_way.saga_id)
        counts = entry is not None and entry.call is under_way
        line_stop = result.result_class is ResultClass.LINE_STOP
        line = self._memory.lines.get(under_way.line)
        if not line_stop:
            self._line_answered(unit, under_way, verified=result.verified)
        if entry is None or not counts:
            return
        entry.call = None
        if line_stop:
            if line is None:
                self._stop_line(unit, under_way.line, result)
            elif line.probe == under_way.saga_id:
                self._probe_again(unit, under_way.line, line)
        self.happen(unit, entry, Answered(result=result, line_open=line is None))

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

    def _stop_line(self, unit: Unit, name: str, result: Result) -> None:
        record = LineRecord(
            stopped_at=unit.now_at, probe_at=unit.now_at + PROBE_WAITS_MS[0], code=result.code
        )
        self._memory.lines[name] = Line(record)
        unit.keep_line(name, record)
        unit.note("line.stopped", line=name, code=result.code, next_attempt_at=record.probe_at)

    def _probe_again(self, unit: Unit, name: str, line: Line) -> None:
        probes = line.record.probes + 1
        gap = PROBE_WAITS_MS[min(probes, len(PROBE_WAITS_MS) - 1)]
        line.record = replace(line.record, probes=probes, probe_at=unit.now_at + gap)
        line.probe = None
        unit.keep_line(name, line.record)

    def _line_answered(self, unit: Unit, under_way: CallUnderWay, *, verified: bool) -> None:
        line = self._memory.lines.get(under_way.line)
        if line is None:
            return
        if not verified:
            if line.probe == under_way.saga_id:
                self._probe_again(unit, under_way.line, line)
            return
        del self._memory.lines[under_way.line]
        unit.keep_line(under_way.line, None)
        unit.note("line.opened", line=under_way.line)
        self._memory.look_at(line.waiting)

    def next_probe(self) -> int | None:
        """Return when the next stopped line is to be tried; not while it is unknown what is held."""
        if not self._memory.lines or not self._around.holds.known():
            return None
        return min(
            (line.record.probe_at for line in self._memory.lines.values() if line.waiting and not line.probe),
            default=None,
        )

    def probes(self, *, now_at: int) -> list[Entry]:
        """Name the sagas that try a stopped line now: the oldest of each where a probe is due."""
        due_at = self.next_probe()
        if due_at is None or due_at > now_at:
            return []
        memory = self._memory
        return [
            memory.entries[min(line.waiting, key=lambda key: memory.entries[key].order)]
            for line in memory.lines.values()
            if line.waiting and line.probe is None and now_at >= line.record.probe_at
        ]

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
                name = self._around.line_of(_step(entry))
                if name not in self._memory.lines:
                    self.happen(unit, entry, LineTried())
            case Phase.DUE:
                self.happen(unit, entry, Restored())
            case Phase.CALLING if entry.call is None:
                self.happen(unit, entry, Restored())
            case _:
                return

    def _look_at_hold(self, unit: Unit, entry: Entry) -> None:
        holds = self._around.holds
        if not holds.known():
            self._memory.postponed[entry.key] = None
            return
        self._memory.postponed.pop(entry.key, None)
        try:
            request = self.request(entry)
        except (VaultError, ContractError, RequestGone) as error:
            self.happen(unit, entry, _broke(Reason.CRASHED, str(error)))
            return
        until = holds.held_until(
            step=_step(entry),
            auth_client_id=request.auth_client_id,
            merchants=_merchants(request),
            now_at=unit.now_at,
        )
        if until is None:
            self.happen(unit, entry, HoldEnded())
        else:
            self._memory.hold(entry.key, until)
            entry.cool()

    # --- lanes ------------------------------------------------------------------------

    def give_turn(self, unit: Unit, binding_id: str) -> None:
        """Give the lane's turn to its first queued saga, until one of them stays active."""
        memory = self._memory
        while True:
            lane = memory.lanes.get(binding_id)
            if lane is None or lane.active is not None:
                return
            if not lane.queue:
                memory.drop_if_empty(binding_id)
                return
            entry = memory.entries[lane.queue.pop(0)]
            lane.active = entry.key
            with Blame(entry.key):
                self._turn(unit, entry)

    def _turn(self, unit: Unit, entry: Entry) -> None:
        saga = entry.saga
        dead = frozenset(
            target
            for target in saga.targets
            if self._memory.known_dead(target, requested_at=saga.requested_at)
        )
        turn = Turn(dead=dead, inherited=self._inheritance(entry))
        self.happen(unit, entry, turn, dead_at=self._memory.dead_since)

    def _inheritance(self, entry: Entry) -> Inheritance | None:
        """Collect what parked sagas of the lane attempted on this saga's targets."""
        lane = self._memory.lane(entry.saga.binding_id)
        found = Inheritance()
        for key in lane.parked:
            parked = self._memory.entries[key].saga
            shared = {
                step
                for step in parked.attempted
                if (target := parked.target(step)) is not None and target in entry.saga.targets
            }
            if shared:
                found = Inheritance(
                    attempted=found.attempted | shared,
                    undecided=found.undecided | (parked.undecided & shared),
                    acquirer_id=found.acquirer_id or parked.acquirer_id,
                    psp_id=found.psp_id or parked.psp_id,
                )
        return found if found.attempted else None

    def _park(
        self, unit: Unit, entry: Entry, decision: Decision, *, reason: Reason, message: str | None
    ) -> None:
        memory = self._memory
        unit.write_letter(entry, meta=self.meta(entry), transition=decision.transitions[-1], message=message)
        unit.park_note(entry, reason, message)
        lane = memory.leave_lane(entry)
        lane.parked[entry.key] = None
        memory.stand(entry, letter=True)
        memory.count_out(entry)
        entry.cool()
        self.give_turn(unit, entry.saga.binding_id)

    def _requeue(self, unit: Unit, entry: Entry) -> None:
        memory = self._memory
        self._memory.stand(entry, letter=False)
        unit.resolve_letter(entry.key)
        lane = memory.leave_lane(entry)
        entry.order = memory.next_order()
        lane.queue.append(entry.key)
        memory.count_in(entry)
        self.give_turn(unit, entry.saga.binding_id)

    def _finish(self, unit: Unit, entry: Entry) -> None:
        memory, saga = self._memory, entry.saga
        lane = memory.leave_lane(entry)
        if entry.lettered:
            self._memory.stand(entry, letter=False)
            unit.resolve_letter(entry.key)
        unit.drop_request(entry.key)
        meta = self.meta(entry)
        unit.note(
            "saga.finished",
            saga_id=saga.saga_id,
            binding_id=saga.binding_id,
            state=str(saga.state),
            sequence=saga.sequence,
            steps=[str(step) for step in saga.done],
            evidence=saga.evidence,
            replays=saga.replays,
            request_id=meta.event_id,
        )
        memory.count_out(entry)
        memory.retire(entry, now_at=unit.now_at)
        if saga.state is State.OFFERED:
            self._mark_offered(unit, lane.parked)
        if saga.state is State.UNBOUND and not self._closing:
            self._close_parked(unit, tuple(lane.parked))
        self.give_turn(unit, saga.binding_id)

    def _mark_offered(self, unit: Unit, parked: Iterable[str]) -> None:
        for key in parked:
            entry = self._memory.entries[key]
            if not entry.offered_since:
                entry.offered_since = True
                unit.touch(entry)

    def _close_parked(self, unit: Unit, parked: tuple[str, ...]) -> None:
        """Close those that want nothing else, in one look: each end would look at all the others again."""
        self._closing = True
        try:
            for key in parked:
                self._close_if_dead(unit, self._memory.entries[key])
        finally:
            self._closing = False

    def _close_if_dead(self, unit: Unit, entry: Entry) -> None:
        """Close a parked saga whose targets are all dead now; a notice to the hub is still owed."""
        saga = entry.saga
        if not saga.targets or saga.step is Step.NOTIFY_HUB:
            return
        if all(self._memory.known_dead(target, requested_at=saga.requested_at) for target in saga.targets):
            happened = Died(targets=frozenset(saga.targets), evidence=Evidence.ALREADY_UNBOUND)
            self.happen(unit, entry, happened, dead_at=self._memory.dead_since)

    def died(
        self,
        unit: Unit,
        entry: Entry,
        targets: frozenset[Target],
        *,
        at: int,
        causation_id: str,
    ) -> None:
        """Tell a saga that targets of it are dead since ``at``; a letter that has lost its cause goes."""
        happened = Died(targets=targets, evidence=Evidence.NOTICE)
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
