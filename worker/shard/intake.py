"""What is ready to be taken into a unit, and in which order: results, evidence, orders, timers, requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.origins import Origin
from contracts.states import Reason
from worker.ports import Input, LogInterrupted
from worker.saga.model import Phase
from worker.shard.remember import block_due_at, forget_oldest, write_block
from worker.shard.under_way import CallUnderWay

if TYPE_CHECKING:
    from worker.ports import Log, Record
    from worker.shard.admission import Admission
    from worker.shard.calls import Calls
    from worker.shard.commands import Commands
    from worker.shard.culprits import Culprits
    from worker.shard.driver import Driver
    from worker.shard.inflow import Inflow
    from worker.shard.letters import Letters
    from worker.shard.memory import Memory
    from worker.shard.notices import Notices
    from worker.shard.options import ShardOptions
    from worker.shard.under_way import Came
    from worker.shard.unit import Unit


class Intake:
    """Fills units from all that came in, for one memory; if it raises, the input at hand is to blame."""

    def __init__(
        self,
        *,
        memory: Memory,
        driver: Driver,
        letters: Letters,
        admission: Admission,
        notices: Notices,
        commands: Commands,
        log: Log,
        inflow: Inflow,
        calls: Calls,
        culprits: Culprits,
        options: ShardOptions,
    ) -> None:
        self._memory = memory
        self._driver = driver
        self._letters = letters
        self._admission = admission
        self._notices = notices
        self._commands = commands
        self._log = log
        self._inflow = inflow
        self._calls = calls
        self._culprits = culprits
        self._options = options

    # --- what is ready ------------------------------------------------------------

    def has_work(self, *, now_at: int) -> bool:
        """Tell whether a unit would take anything now."""
        inbox = self._inflow.inbox
        due_at = self.next_at(now_at=now_at)
        return (
            bool(self._calls.came)
            or bool(self._doomed())
            or bool(inbox[Input.REQUESTS])
            or bool(inbox[Input.NOTICES])
            or (bool(inbox[Input.COMMANDS]) and now_at >= self._culprits.commands_from)
            or bool(self._memory.ready)
            or self._inflow.holds_moved
            or (due_at is not None and due_at <= now_at)
        )

    def next_at(self, *, now_at: int) -> int | None:
        """Return when something falls due by itself (ms since the Unix epoch), if nothing comes in before."""
        memory = self._memory
        moments = [
            memory.next_due(),
            block_due_at(memory),
            memory.next_hold_end(),
            self._driver.next_probe(now_at=now_at),
        ]
        if self._inflow.inbox[Input.COMMANDS]:
            moments.append(self._culprits.commands_from)
        return min((moment for moment in moments if moment is not None), default=None)

    # --- units --------------------------------------------------------------------

    async def gather(self, unit: Unit) -> None:
        """Take what is ready into one unit: results first, then evidence and orders, then the rest."""
        culprits = self._culprits
        one_by_one = culprits.one_by_one
        most = 1 if one_by_one else self._options.batch
        culprits.blame_nobody()
        left = self._take_culprits(unit, most)
        left = self._take_results(unit, left)
        left = self._take_notices(unit, left)
        left = await self._take_commands(unit, left)
        left = self._take_due(unit, left)
        left = self._take_requests(unit, left if one_by_one else most)
        if one_by_one:
            culprits.took_one(last=left == most and unit.empty)
        self._keep_house(unit)
        if self._memory.position is not None:
            self._inflow.ask_again(self._memory.position)

    def wind_up(self, unit: Unit) -> None:
        """Take the last results, and take back the calls that they lead to: nothing starts any more."""
        while self._calls.came:
            self._take_results(unit, len(self._calls.came))
        for saga_id, call in unit.calls.items():
            entry = self._memory.entries.get(saga_id)
            if entry is not None and entry.saga.phase is Phase.CALLING and entry.call is None:
                under_way = CallUnderWay(saga_id, call, "", unit.now_at)
                entry.call = under_way
                self._driver.not_begun(unit, under_way)
        unit.calls = {}

    def _room(self, unit: Unit) -> bool:
        return unit.volume < self._options.unit_bytes

    def _keep_house(self, unit: Unit) -> None:
        due_at = block_due_at(self._memory)
        if due_at is not None and due_at <= unit.now_at and not self._culprits.one_by_one:
            write_block(unit, self._memory)
            forget_oldest(unit, self._memory, self._options.remembering)

    # --- culprits -----------------------------------------------------------------

    def _doomed(self) -> list[str]:
        """Name the sagas that failed before and are not parked; one that is parked waits for its turn."""
        entries = self._memory.entries
        return [
            key
            for key in self._culprits.named
            if key in entries and entries[key].saga.phase not in (Phase.PARKED, Phase.ENDED)
        ]

    def _take_culprits(self, unit: Unit, left: int) -> int:
        """Park the sagas that failed before, first of all: whatever touches them would fail again."""
        for key in self._doomed():
            if left <= 0:
                break
            if key in unit.settled:
                # The one before it was parked, and so its turn had come.
                continue
            left -= 1
            unit.settled.append(key)
            reason, message = self._culprits.named[key]
            with self._culprits.blame(key):
                self._driver.broke(unit, self._memory.entries[key], reason=reason, message=message)
        return left

    def _park_culprit(self, unit: Unit, record: Record) -> bool:
        """Park a record that failed before; a command ends in its verdict."""
        culprit = self._culprits.named.get(_origin(record))
        if culprit is None:
            return False
        unit.settled.append(_origin(record))
        reason, message = culprit
        if record.input is Input.COMMANDS:
            self._commands.refuse(unit, record, message)
        elif reason is Reason.UNWRITABLE:
            self._letters.park_unwritable(unit, record, message)
        else:
            self._letters.park_crashed(unit, record, message)
        return True

    # --- results --------------------------------------------------------------------

    def _take_results(self, unit: Unit, left: int) -> int:
        came_in = self._calls.came
        while came_in and left > 0:
            came = came_in.popleft()
            left -= 1
            with self._culprits.blame(came.under_way.saga_id):
                self._take_result(unit, came)
        return left

    def _take_result(self, unit: Unit, came: Came) -> None:
        memory, under_way = self._memory, came.under_way
        entry = memory.entries.get(under_way.saga_id)
        if entry is not None and entry.call is under_way and came.result is None:
            if came.fault is None and not under_way.begun:
                self._driver.not_begun(unit, under_way)
                memory.look_at((entry.key,))
            elif came.fault is None:
                # Cut short by somebody else: bytes may have left, so it is made again as undecided.
                entry.call = None
                memory.look_at((entry.key,))
            else:
                entry.call = None
                name = type(came.fault).__name__
                self._driver.broke(
                    unit,
                    entry,
                    reason=Reason.CRASHED,
                    message=f"its call raised {name} inside the worker",
                    begun=under_way.begun,
                )
        elif came.result is not None:
            self._driver.answered(unit, under_way, came.result)

    # --- timers, holds, lines, and those to be looked at again ------------------------

    def _take_due(self, unit: Unit, left: int) -> int:
        memory = self._memory
        if self._inflow.holds_moved:
            self._inflow.holds_moved = False
            memory.look_at(memory.postponed)
            memory.look_at(memory.held)
        memory.release(now_at=unit.now_at)
        # One that tries a stopped line comes before those who would only find it stopped.
        for entry in self._driver.probes(now_at=unit.now_at)[: max(0, left)]:
            left -= 1
            with self._culprits.blame(entry.key):
                self._driver.try_line(unit, entry)
        due = memory.due(now_at=unit.now_at, most=max(0, left))
        while left > 0 and self._room(unit) and (fallen := next(due, None)) is not None:
            left -= 1
            with self._culprits.blame(fallen.key):
                self._driver.fell_due(unit, fallen)
        return self._look_again(unit, left)

    def _look_again(self, unit: Unit, left: int) -> int:
        while left > 0 and self._room(unit) and (entry := self._memory.next_ready()) is not None:
            left -= 1
            with self._culprits.blame(entry.key):
                if entry.saga.phase is Phase.QUEUED:
                    self._driver.give_turn(unit, entry.saga.binding_id)
                else:
                    self._driver.look_again(unit, entry)
        return left

    # --- records --------------------------------------------------------------------

    def _take_notices(self, unit: Unit, left: int) -> int:
        inbox = self._inflow.inbox[Input.NOTICES]
        while inbox and left > 0 and self._room(unit):
            record = inbox.take()
            left -= 1
            if self._taken_before(record):
                continue
            with self._culprits.blame(_origin(record)):
                if not self._park_culprit(unit, record):
                    self._notices.take(unit, record)
            self._moved(unit, record)
        return left

    async def _take_commands(self, unit: Unit, left: int) -> int:
        inbox = self._inflow.inbox[Input.COMMANDS]
        while inbox and left > 0 and self._room(unit) and unit.now_at >= self._culprits.commands_from:
            record = inbox.take()
            left -= 1
            if self._taken_before(record):
                continue
            with self._culprits.blame(_origin(record), command=True):
                if not self._park_culprit(unit, record):
                    await self._take_command(unit, record)
            self._moved(unit, record)
        return left

    async def _take_command(self, unit: Unit, record: Record) -> None:
        origin = self._commands.origin_needed(record)
        found = None
        if origin is not None:
            try:
                found = await self._log.fetch(
                    topic=origin.topic, partition=origin.partition, offset=origin.offset
                )
            except LogInterrupted as error:
                # Nothing was written, and a verdict is better than a shard that restarts.
                self._commands.refuse(unit, record, f"{origin.text} could not be read now: {error}")
                return
        self._commands.take(unit, record, original=None if found is None else found.value)

    def _take_requests(self, unit: Unit, left: int) -> int:
        inbox = self._inflow.inbox[Input.REQUESTS]
        while inbox and left > 0 and unit.size < 4 * self._options.batch and self._room(unit):
            record = inbox.take()
            left -= 1
            if self._taken_before(record):
                continue
            with self._culprits.blame(_origin(record)):
                if not self._park_culprit(unit, record):
                    self._admission.take(unit, record)
            self._moved(unit, record)
        return left

    def _taken_before(self, record: Record) -> bool:
        """Tell whether the position is past this record: then the feed gave it twice."""
        position = self._memory.position
        return position is not None and record.offset < position[record.input]

    def _moved(self, unit: Unit, record: Record) -> None:
        position = self._memory.position
        if position is None:
            raise AssertionError("an open shard has a position")
        position[record.input] = record.offset + 1
        unit.moved = True


def _origin(record: Record) -> str:
    return Origin(record.topic, record.partition, record.offset).text
