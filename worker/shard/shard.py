"""One input partition: its life (closed, claiming, open, draining) and its one loop of group commits."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from contracts.origins import Origin
from contracts.states import Reason
from worker.ports import (
    Fenced,
    Input,
    LogError,
    LogInterrupted,
    NotBegun,
    RestoreStalled,
    WriteRefused,
)
from worker.saga.model import Phase
from worker.shard import claim
from worker.shard.admission import Admission, AdmissionRules
from worker.shard.calls import CallUnderWay, Came
from worker.shard.claim import ShardClosed
from worker.shard.commands import Commands
from worker.shard.driver import Driver, Surroundings
from worker.shard.faults import Blame, HandlingFailed
from worker.shard.inbox import Inbox
from worker.shard.journal import JournalUnreadable
from worker.shard.notices import Notices
from worker.shard.remember import Remembering, block_due_at, forget_oldest, write_block
from worker.shard.report import Report
from worker.shard.unit import Unit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from worker.ports import Feed, Hub, Lease, Log, Observer, Record
    from worker.saga.plan import Profile
    from worker.saga.results import Call
    from worker.shard.memory import Entry, Memory
    from worker.shard.pace import Linger
    from worker.shard.vault import Vault

FIRST_GAP_MS: Final = 50
"""The gap before the first new try after a local crash; it grows fourfold."""
FENCED_GAP_MS: Final = 3_000
"""The gap before a fenced shard looks at its lease: longer than the lease's own interval."""
COMMANDS_GAP_MS: Final = 30_000
"""How long commands wait when a verdict could not be written."""
REFUSED_GAP_MOST_MS: Final = 300_000
"""The longest gap before a shard tries again to write what the broker refuses."""
SINGLES: Final = 100
"""How many inputs are committed one by one after a deterministic failure."""
_TICK_MS: Final = 1_000
"""The longest sleep while a timer runs: the wall clock may jump, and a stopped process sleeps on."""


class ShardState(StrEnum):
    """The life of a shard."""

    CLOSED = "closed"
    CLAIMING = "claiming"
    OPEN = "open"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardOptions:
    """The numbers of a shard. Durations in milliseconds."""

    partition: int
    partitions: int
    source: str
    """``ce_source`` of our events."""
    record_bytes: int = 256 * 1024
    live_sagas: int = 50_000
    live_bytes: int = 256 * 1024 * 1024
    inbox: int = 2_000
    """Records of one input taken from the feed and not yet decided, at most about."""
    inbox_bytes: int = 32 * 1024 * 1024
    """Bytes of their values, at most about."""
    batch: int = 500
    """Inputs of each kind in one unit, at most."""
    unit_bytes: int = 4 * 1024 * 1024
    """Bytes after which a unit takes no more: a transaction must end well before its time-out."""
    drain_ms: int = 6_000
    """How long calls in flight may take to end when the shard lets go: longer than one attempt."""
    retry_ms: int = 5_000
    """The gap before the shard tries to open again."""
    accept_loss: bool = False
    given_up_keys: frozenset[str] = frozenset()
    remembering: Remembering = field(default_factory=Remembering)


class Shard:
    """The sagas, timers and transactions of one partition.

    Everything outside comes in as an argument. ``start`` returns at once; ``drain`` lets go within
    ``drain_ms`` and keeps memory and producer, so that a partition that comes back opens without a restore.
    """

    def __init__(
        self,
        *,
        options: ShardOptions,
        log: Log,
        feed: Feed,
        hub: Hub,
        lease: Lease,
        vault: Vault,
        profile: Profile,
        surroundings: Surroundings,
        clock: Callable[[], int],
        observer: Observer,
        linger: Linger | None = None,
    ) -> None:
        """``linger`` is shared by the shards of a process; without one each commits at once."""
        self._options = options
        self._log = log
        self._feed = feed
        self._hub = hub
        self._lease = lease
        self._vault = vault
        self._profile = profile
        self._around = surroundings
        self._clock = clock
        self._report = Report(observer, partition=options.partition)
        self._linger = linger
        self._state = ShardState.CLOSED
        self._why: str | None = None
        self._memory: Memory | None = None
        self._task: asyncio.Task[None] | None = None
        self._wanted = False
        self._bell = asyncio.Event()
        self._inbox: dict[Input, Inbox] = {name: Inbox() for name in Input}
        self._came: deque[Came] = deque()
        self._calls: set[CallUnderWay] = set()
        self._paused = False
        self._taken: dict[Input, int] | None = None
        self._one_by_one = False
        self._singles = 0
        self._refusals = 0
        self._failures = 0
        self._fenced = False
        self._last_input: str | None = None
        self._last_is_command = False
        self._commands_from = 0
        self._culprits: dict[str, tuple[Reason, str]] = {}
        self._holds_moved = False

    # --- from outside -------------------------------------------------------------

    @property
    def state(self) -> ShardState:
        """Where the shard is in its life."""
        return self._state

    @property
    def why(self) -> str | None:
        """Why it does not open, if it does not."""
        return self._why

    @property
    def partition(self) -> int:
        """The partition that it owns."""
        return self._options.partition

    def position(self) -> dict[Input, int] | None:
        """Return the committed position of a shard that is wanted: what the lease shows to the group."""
        return self._taken if self._wanted or self._state is ShardState.DRAINING else None

    def start(self) -> None:
        """Claim the partition and serve it, in a task of the shard's own."""
        self._wanted = True
        if self._task is None or self._task.done():
            self._taken = None
            self._task = asyncio.get_running_loop().create_task(
                self._run(), name=f"shard-{self._options.partition}"
            )
            self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Start again if the partition came back while the shard was letting go."""
        if self._wanted and task is self._task:
            self.start()

    def offer(self, records: Sequence[Record]) -> None:
        """Take records from the feed; a shard that is not open drops them, and seeks when it opens."""
        if self._state is not ShardState.OPEN:
            return
        options = self._options
        for record in records:
            self._inbox[record.input].put(record, most=options.inbox, most_bytes=options.inbox_bytes)
        if self._inbox[Input.REQUESTS].full(most=options.inbox, most_bytes=options.inbox_bytes):
            self._press()
        self._bell.set()

    def holds_changed(self) -> None:
        """Look again at what is held: the holds moved, or became known."""
        self._holds_moved = True
        self._bell.set()

    async def drain(self) -> None:
        """Let go: no new calls; those in flight end or are cut, what never began is journaled."""
        self._wanted = False
        task = self._task
        if task is None or task.done():
            return
        if self._state is ShardState.OPEN:
            self._state = ShardState.DRAINING
            self._bell.set()
            await asyncio.wait({task}, timeout=self._options.drain_ms / 1000 * 2)
        if not task.done():
            task.cancel()
            await asyncio.wait({task})

    async def close(self) -> None:
        """Drain, and drop memory and producer."""
        await self.drain()
        self._memory = None
        await self._log.close()

    # --- life -----------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while self._wanted:
                if await self._live_once():
                    return
                if self._wanted:
                    await self._rest()
        finally:
            await self._cut_calls()
            self._state = ShardState.CLOSED
            self._clear_inboxes()

    async def _live_once(self) -> bool:
        """Claim and serve until drained (True), or until something breaks (False: try again)."""
        self._state = ShardState.CLAIMING
        try:
            await self._claim()
            await self._serve()
        except Fenced as error:
            self._fenced = True
            self._report.failed("fenced")
            self._crash("shard.fenced", error)
        except WriteRefused as error:
            self._report.failed("refused")
            self._refused(error)
        except HandlingFailed as failure:
            self._failed(failure)
        except (ShardClosed, JournalUnreadable, RestoreStalled) as error:
            self._why = str(error)
            self._crash("shard.refused", error)
        except LogInterrupted as error:
            self._report.failed("interrupted")
            self._crash("transaction.failed", error)
        except asyncio.CancelledError:
            # Memory may be ahead of the journal.
            self._memory = None
            raise
        except Exception as error:  # noqa: BLE001 - the boundary: a fault of ours must not end the shard silently
            self._why = f"{type(error).__name__} inside the worker"
            self._crash("shard.crashed", error)
        else:
            return True
        finally:
            await self._cut_calls()
            self._state = ShardState.CLOSED
            self._clear_inboxes()
        return False

    def _crash(self, event: str, error: Exception) -> None:
        self._memory = None
        if isinstance(error, HandlingFailed):
            self._report.event(event, cause=str(error), error=error.error)
        else:
            self._report.event(event, cause=str(error))

    def _refused(self, error: WriteRefused) -> None:
        """Find the culprit of a deterministic failure one by one, and park it; else stay closed."""
        culprit = self._last_input
        if not self._one_by_one or culprit is None:
            self._one_by_one = self._state is ShardState.OPEN
            self._singles = 0
            if not self._one_by_one:
                self._why = str(error)
            self._crash("transaction.split", error)
            return
        if culprit in self._culprits and self._last_is_command:
            # Its verdict cannot be written now. A command has no letter: it waits, requests go on.
            del self._culprits[culprit]
            self._commands_from = self._clock() + COMMANDS_GAP_MS
            self._crash("transaction.split", error)
            return
        self._refusals += 1
        if culprit in self._culprits or self._refusals > 1:
            # Not even its letter can be written, or every input is refused: it is not the input's fault.
            # Stay closed for a while, and begin anew, instead of parking them all.
            self._culprits.clear()
            self._one_by_one = False
            self._why = str(error)
            self._crash("shard.refused", error)
            return
        self._culprits[culprit] = (Reason.UNWRITABLE, str(error))
        self._crash("transaction.split", error)

    def _failed(self, failure: HandlingFailed) -> None:
        if failure.key in self._culprits:
            self._culprits.clear()
            self._why = str(failure)
            self._crash("shard.refused", failure)
            return
        self._culprits[failure.key] = (
            Reason.CRASHED,
            f"its handling raised {type(failure.error).__name__} inside the worker",
        )
        self._crash("saga.crashed", failure)

    async def _rest(self) -> None:
        """Wait before the next try: a moment after a first failure, longer while nothing gets better."""
        if self._fenced:
            # Whoever fenced us may be the rightful owner: claim again only as a proven member of the group.
            self._fenced = False
            await asyncio.sleep(FENCED_GAP_MS / 1000)
            await self._lease.wait()
            return
        self._failures += 1
        gap_ms = min(self._options.retry_ms, FIRST_GAP_MS * 4 ** min(self._failures - 1, 8))
        if self._why is not None:
            gap_ms = self._options.retry_ms
        if self._refusals > 1:
            # Each new try parks one input before it learns that all are refused: try less and less often.
            gap_ms = min(REFUSED_GAP_MOST_MS, self._options.retry_ms * 2 ** min(self._refusals, 8))
        await asyncio.sleep(gap_ms / 1000)

    # --- claim ------------------------------------------------------------------------

    async def _claim(self) -> None:
        """Become the only writer and know everything, or raise."""
        self._last_input = None
        loop, partition = asyncio.get_running_loop(), self._options.partition
        memory = self._memory
        if memory is not None and not await self._still_ours(memory):
            memory = self._memory = None
        if memory is None:
            await self._log.fence()
            self._report.event("shard.claimed")
            began = loop.time()
            memory = await claim.restore(self._log)
            claim.check_keys(memory, self._vault, given_up=self._options.given_up_keys)
            bounds = await self._log.bounds()
            position = claim.first_position(
                memory, bounds, partition=partition, accept_loss=self._options.accept_loss
            )
            self._report.restored(sagas=len(memory.entries), took_ms=(loop.time() - began) * 1000)
            given_up = self._options.given_up_keys - self._vault.fingerprint_keys
            named = (memory.fingerprint_keys - given_up) | {self._vault.fingerprint_key}
            if memory.position != position or memory.fingerprint_keys != named:
                memory.position, memory.fingerprint_keys = position, named
                await self._write_position(memory)
        else:
            self._report.event("shard.kept")
        self._memory = memory
        if memory.position is None:
            raise AssertionError("a claimed shard has a position")
        claim.wake_up(memory, self._stopped_lines(memory))
        self._build(memory)
        self._doom(memory)
        self._clear_inboxes()
        self._came.clear()
        self._taken = dict(memory.position)
        self._paused = False
        self._why = None
        self._state = ShardState.OPEN
        self._feed.seek(dict(memory.position))
        self._feed.resume()
        self._bell.set()
        self._report.event("shard.opened")

    async def _still_ours(self, memory: Memory) -> bool:
        """Prove with an ordinary transaction of the unchanged producer that nobody else has written."""
        try:
            await self._write_position(memory)
        except LogError:
            return False
        return True

    async def _write_position(self, memory: Memory) -> None:
        unit = self._unit()
        unit.moved = True
        await self._log.commit(unit.seal(memory))

    def _stopped_lines(self, memory: Memory) -> dict[str, str]:
        return {
            entry.key: self._hub.line(entry.saga.step)
            for entry in memory.entries.values()
            if entry.saga.phase is Phase.STOPPED and entry.saga.step is not None
        }

    def _doom(self, memory: Memory) -> None:
        """List the sagas whose sealing key was given up: they are parked before anything else."""
        gone = self._options.given_up_keys - self._vault.sealing_keys
        if not gone:
            return
        for entry in memory.entries.values():
            parked = entry.saga.phase in (Phase.PARKED, Phase.ENDED)
            if not parked and entry.sealed is not None and entry.sealed.key_id in gone:
                message = f"sealing key {entry.sealed.key_id} was given up: its request cannot be opened"
                self._culprits[entry.key] = (Reason.CRASHED, message)

    def _build(self, memory: Memory) -> None:
        rules = AdmissionRules(
            partition=self._options.partition,
            partitions=self._options.partitions,
            profile=self._profile,
            record_bytes=self._options.record_bytes,
        )
        self._driver = Driver(memory, self._around)
        self._admission = Admission(
            memory=memory, driver=self._driver, vault=self._vault, rules=rules, fits=self._log.fits
        )
        self._notices = Notices(
            memory=memory, driver=self._driver, admission=self._admission, vault=self._vault, rules=rules
        )
        self._commands = Commands(
            memory=memory, driver=self._driver, admission=self._admission, vault=self._vault
        )

    # --- the loop -----------------------------------------------------------------------

    async def _serve(self) -> None:
        memory = self._known()
        while self._open():
            await self._wait_for_work(memory)
            if not self._open():
                break
            unit = self._unit()
            await self._gather(unit, memory)
            await self._commit(unit, memory)
            self._balance(memory)
            self._report.measure(memory, now_at=unit.now_at)
        await self._let_go(memory)

    async def _wait_for_work(self, memory: Memory) -> None:
        while self._open():
            self._bell.clear()
            if self._has_work(memory):
                break
            wait_ms = self._next_wake(memory)
            try:
                async with asyncio.timeout(None if wait_ms is None else wait_ms / 1000):
                    await self._bell.wait()
            except TimeoutError:
                continue
        if self._linger is None or not self._open():
            return
        seconds = self._linger.seconds(self._options.partition)
        if seconds > 0:
            await asyncio.sleep(seconds)

    def _has_work(self, memory: Memory) -> bool:
        now_at = self._clock()
        due_at = self._next_at(memory)
        return (
            bool(self._came)
            or any(key in memory.entries for key in self._culprits)
            or bool(self._inbox[Input.REQUESTS])
            or bool(self._inbox[Input.NOTICES])
            or (bool(self._inbox[Input.COMMANDS]) and now_at >= self._commands_from)
            or bool(memory.ready)
            or self._holds_moved
            or (due_at is not None and due_at <= now_at)
        )

    def _next_wake(self, memory: Memory) -> int | None:
        due_at = self._next_at(memory)
        return None if due_at is None else max(1, min(_TICK_MS, due_at - self._clock()))

    def _next_at(self, memory: Memory) -> int | None:
        moments = [
            memory.next_due(),
            block_due_at(memory),
            memory.next_hold_end(),
            self._driver.next_probe(),
        ]
        if self._inbox[Input.COMMANDS]:
            moments.append(self._commands_from)
        return min((moment for moment in moments if moment is not None), default=None)

    async def _gather(self, unit: Unit, memory: Memory) -> None:
        """Take what is ready into one unit: results first, then evidence and orders, then the rest."""
        most = 1 if self._one_by_one else self._options.batch
        self._last_input = None
        left = self._take_culprits(unit, memory, most)
        left = self._take_results(unit, memory, left)
        left = self._take_notices(unit, memory, left)
        left = await self._take_commands(unit, memory, left)
        left = self._take_due(unit, memory, left)
        left = self._take_requests(unit, memory, left if self._one_by_one else most)
        if self._one_by_one:
            self._singles += 1
            self._one_by_one = self._singles < SINGLES and not (left == most and unit.empty)
        self._keep_house(unit, memory)
        self._feed_again(memory)

    def _feed_again(self, memory: Memory) -> None:
        """Ask again for what did not fit into an inbox, once that is empty."""
        if memory.position is None or not any(inbox.spilled and not inbox for inbox in self._inbox.values()):
            return
        self._feed.seek({name: inbox.next_of(memory.position[name]) for name, inbox in self._inbox.items()})
        for inbox in self._inbox.values():
            inbox.spilled = False
        if self._paused:
            self._feed.pause()

    def _room(self, unit: Unit) -> bool:
        return unit.volume < self._options.unit_bytes

    def _take_results(self, unit: Unit, memory: Memory, left: int) -> int:
        while self._came and left > 0:
            came = self._came.popleft()
            left -= 1
            under_way = came.under_way
            with self._blame(under_way.saga_id):
                self._take_result(unit, memory, came)
        return left

    def _take_result(self, unit: Unit, memory: Memory, came: Came) -> None:
        under_way = came.under_way
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

    def _take_notices(self, unit: Unit, memory: Memory, left: int) -> int:
        inbox = self._inbox[Input.NOTICES]
        while inbox and left > 0 and self._room(unit):
            record = inbox.take()
            left -= 1
            if self._taken_before(memory, record):
                continue
            with self._blame(_origin(record)):
                if not self._park_culprit(unit, record):
                    self._notices.take(unit, record)
            self._moved(unit, memory, record)
        return left

    async def _take_commands(self, unit: Unit, memory: Memory, left: int) -> int:
        inbox = self._inbox[Input.COMMANDS]
        while inbox and left > 0 and self._room(unit) and unit.now_at >= self._commands_from:
            record = inbox.take()
            left -= 1
            if self._taken_before(memory, record):
                continue
            with self._blame(_origin(record)):
                self._last_is_command = True
                if not self._park_culprit(unit, record):
                    await self._take_command(unit, record)
            self._moved(unit, memory, record)
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

    def _take_due(self, unit: Unit, memory: Memory, left: int) -> int:
        if self._holds_moved:
            self._holds_moved = False
            memory.look_at(memory.postponed)
            memory.look_at(memory.held)
        memory.release(now_at=unit.now_at)
        # One that tries a stopped line comes before those who would only find it stopped.
        for entry in self._driver.probes(now_at=unit.now_at)[: max(0, left)]:
            left -= 1
            with self._blame(entry.key):
                self._driver.try_line(unit, entry)
        due = memory.due(now_at=unit.now_at, most=max(0, left))
        while left > 0 and self._room(unit) and (fallen := next(due, None)) is not None:
            left -= 1
            with self._blame(fallen.key):
                self._driver.fell_due(unit, fallen)
        return self._look_again(unit, memory, left)

    def _look_again(self, unit: Unit, memory: Memory, left: int) -> int:
        while left > 0 and self._room(unit) and (entry := memory.next_ready()) is not None:
            left -= 1
            with self._blame(entry.key):
                if entry.saga.phase is Phase.QUEUED:
                    self._driver.give_turn(unit, entry.saga.binding_id)
                else:
                    self._driver.look_again(unit, entry)
        return left

    def _take_requests(self, unit: Unit, memory: Memory, left: int) -> int:
        inbox = self._inbox[Input.REQUESTS]
        while inbox and left > 0 and unit.size < 4 * self._options.batch and self._room(unit):
            record = inbox.take()
            left -= 1
            if self._taken_before(memory, record):
                continue
            with self._blame(_origin(record)):
                if not self._park_culprit(unit, record):
                    self._admission.take(unit, record)
            self._moved(unit, memory, record)
        return left

    def _taken_before(self, memory: Memory, record: Record) -> bool:
        """Tell whether the position is past this record: then the feed gave it twice."""
        return memory.position is not None and record.offset < memory.position[record.input]

    def _moved(self, unit: Unit, memory: Memory, record: Record) -> None:
        if memory.position is None:
            raise AssertionError("an open shard has a position")
        memory.position[record.input] = record.offset + 1
        unit.moved = True

    def _keep_house(self, unit: Unit, memory: Memory) -> None:
        due_at = block_due_at(memory)
        if due_at is not None and due_at <= unit.now_at and not self._one_by_one:
            write_block(unit, memory)
            forget_oldest(unit, memory, self._options.remembering)

    # --- culprits -------------------------------------------------------------------------

    def _blame(self, key: str) -> Blame:
        """Note which input is handled; if it raises it will be parked, its neighbours not."""
        self._last_input = key
        self._last_is_command = False
        return Blame(key)

    def _take_culprits(self, unit: Unit, memory: Memory, left: int) -> int:
        """Park the sagas that failed before, first of all: whatever touches them would fail again."""
        for key in [key for key in self._culprits if key in memory.entries]:
            if left <= 0:
                break
            left -= 1
            entry = memory.entries[key]
            reason, message = self._culprits[key]
            unit.settled.append(key)
            if entry.saga.phase not in (Phase.PARKED, Phase.ENDED):
                with self._blame(key):
                    self._driver.broke(unit, entry, reason=reason, message=message)
        return left

    def _park_culprit(self, unit: Unit, record: Record) -> bool:
        """Park a record that failed before; a command ends in its verdict."""
        culprit = self._culprits.get(_origin(record))
        if culprit is None:
            return False
        unit.settled.append(_origin(record))
        reason, message = culprit
        if record.input is Input.COMMANDS:
            self._commands.refuse(unit, record, message)
        elif reason is Reason.UNWRITABLE:
            self._admission.park_unwritable(unit, record, message)
        else:
            self._admission.park_crashed(unit, record, message)
        return True

    # --- commit, and what follows -----------------------------------------------------------

    async def _commit(self, unit: Unit, memory: Memory) -> None:
        if unit.empty:
            self._settle(unit)
            self._start_calls(unit, memory)
            return
        writes = unit.seal(memory)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await self._log.commit(writes)
        if memory.position is not None:
            self._taken = dict(memory.position)
        self._settle(unit)
        self._report.committed(unit, records=len(writes), took_ms=(loop.time() - began) * 1000)
        self._failures = 0
        if unit.told and not unit.settled:
            self._refusals = 0
        if self._linger is not None:
            self._linger.committed(self._options.partition)
        self._start_calls(unit, memory)

    def _settle(self, unit: Unit) -> None:
        """Hold nothing more against inputs that are parked now: a person may replay them."""
        for key in unit.settled:
            self._culprits.pop(key, None)

    def _start_calls(self, unit: Unit, memory: Memory) -> None:
        loop = asyncio.get_running_loop()
        for saga_id, call in unit.calls.items():
            entry = memory.entries.get(saga_id)
            if entry is None or entry.saga.phase is not Phase.CALLING or entry.call is not None:
                continue
            under_way = CallUnderWay(saga_id, call, self._hub.line(call.step))
            entry.call = under_way
            self._calls.add(under_way)
            under_way.task = loop.create_task(self._call(under_way, entry))

    async def _call(self, under_way: CallUnderWay, entry: Entry) -> None:
        came = Came(under_way)
        try:
            came = await self._perform(under_way, under_way.call, entry)
        finally:
            self._calls.discard(under_way)
            self._came.append(came)
            self._bell.set()

    async def _perform(self, under_way: CallUnderWay, call: Call, entry: Entry) -> Came:
        def gate() -> None:
            if under_way.void or not self._open() or not self._lease.live():
                raise NotBegun
            under_way.begun = True

        loop = asyncio.get_running_loop()
        while True:
            if not self._lease.live():
                await self._lease.wait()
            try:
                request = self._driver.request(entry)
                began = loop.time()
                result = await self._hub.perform(call, request, gate)
            except NotBegun:
                if under_way.void or not self._open():
                    return Came(under_way)
                # The lease ran out while the call stood in line: it is waited for again.
                await asyncio.sleep(0)
            except Exception as fault:  # noqa: BLE001 - the boundary: a fault of ours parks its saga only
                return Came(under_way, fault=fault)
            else:
                took_ms = (loop.time() - began) * 1000
                self._report.answered(
                    step=call.step.value, result_class=result.result_class.value, took_ms=took_ms
                )
                return Came(under_way, result=result)

    def _press(self) -> None:
        if not self._paused:
            self._paused = True
            self._feed.pause()
            self._report.event("shard.paused")

    def _balance(self, memory: Memory) -> None:
        """Stop taking requests when there are too many sagas or bytes; go on when there is room again."""
        options = self._options
        full = memory.live >= options.live_sagas or memory.live_bytes >= options.live_bytes
        if full:
            self._press()
            return
        room = (
            memory.live <= options.live_sagas * 0.8
            and memory.live_bytes <= options.live_bytes * 0.8
            and not self._inbox[Input.REQUESTS].full(
                most=options.inbox // 2, most_bytes=options.inbox_bytes // 2
            )
        )
        if self._paused and room:
            self._paused = False
            self._feed.resume()
            self._report.event("shard.resumed")

    # --- letting go ---------------------------------------------------------------------------

    async def _let_go(self, memory: Memory) -> None:
        """Wait for calls that have begun, then journal their results and the calls that never began."""
        for under_way in tuple(self._calls):
            if not under_way.begun and under_way.task is not None:
                under_way.task.cancel()
        tasks = {under_way.task for under_way in self._calls if under_way.task is not None}
        if tasks:
            await asyncio.wait(tasks, timeout=self._options.drain_ms / 1000)
        unit = self._unit()
        while self._came:
            self._take_results(unit, memory, len(self._came))
        for saga_id in unit.calls:
            entry = memory.entries.get(saga_id)
            if entry is not None and entry.saga.phase is Phase.CALLING and entry.call is None:
                under_way = CallUnderWay(saga_id, unit.calls[saga_id], "")
                entry.call = under_way
                self._driver.not_begun(unit, under_way)
        unit.calls = {}
        await self._commit(unit, memory)
        self._report.event("shard.drained")

    async def _cut_calls(self) -> None:
        tasks = {under_way.task for under_way in self._calls if under_way.task is not None}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._calls.clear()
        self._came.clear()

    # --- small things ---------------------------------------------------------------------------

    def _open(self) -> bool:
        return self._state is ShardState.OPEN

    def _unit(self) -> Unit:
        return Unit(now_at=self._clock(), source=self._options.source)

    def _known(self) -> Memory:
        if self._memory is None:
            raise AssertionError("an open shard has a memory")
        return self._memory

    def _clear_inboxes(self) -> None:
        for inbox in self._inbox.values():
            inbox.clear()


def _origin(record: Record) -> str:
    return Origin(record.topic, record.partition, record.offset).text
