"""One input partition: its life (closed, claiming, open, draining) and its one loop of group commits."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from contracts.states import Reason
from worker.crash_points import CrashPoint, pass_by
from worker.ports import Fenced, Input, LogError, LogInterrupted, RestoreStalled, WriteRefused
from worker.shard import claim
from worker.shard.admission import Admission, AdmissionRules
from worker.shard.calls import Calls
from worker.shard.claim import ShardClosed
from worker.shard.commands import Commands
from worker.shard.culprits import Culprits
from worker.shard.driver import Driver
from worker.shard.faults import HandlingFailed
from worker.shard.inflow import Inflow
from worker.shard.intake import Intake
from worker.shard.journal import JournalUnreadable
from worker.shard.letters import Letters
from worker.shard.notices import Notices
from worker.shard.options import ShardOptions
from worker.shard.report import Report
from worker.shard.unit import Unit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from worker.crash_points import Passing
    from worker.ports import Feed, Hub, Lease, Log, Observer, Record
    from worker.saga.plan import Profile
    from worker.shard.driver import Surroundings
    from worker.shard.memory import Entry, Memory
    from worker.shard.pace import Linger
    from worker.shard.under_way import CallUnderWay
    from worker.shard.vault import Vault

__all__ = ["Shard", "ShardOptions", "ShardState"]

FIRST_GAP_MS: Final = 50
"""The gap before the first new try after a local crash; it grows fourfold."""
FENCED_GAP_MS: Final = 3_000
"""The gap before a fenced shard looks at its lease: longer than the lease's own interval."""
REFUSED_GAP_MOST_MS: Final = 300_000
"""The longest gap before a shard tries again to write what the broker refuses."""
_TICK_MS: Final = 1_000
"""The longest sleep while a timer runs: the wall clock may jump, and a stopped process sleeps on."""


class ShardState(StrEnum):
    """The life of a shard."""

    CLOSED = "closed"
    CLAIMING = "claiming"
    OPEN = "open"
    DRAINING = "draining"


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
        passing: Passing = pass_by,
    ) -> None:
        """``linger`` is shared by the shards of a process; without one each commits at once.

        ``passing`` hears of the crash points.
        """
        self._options = options
        self._log = log
        self._lease = lease
        self._hub = hub
        self._vault = vault
        self._profile = profile
        self._around = surroundings
        self._clock = clock
        self._report = Report(observer, partition=options.partition)
        self._linger = linger
        self._passing = passing
        self._bell = asyncio.Event()
        self._inflow = Inflow(feed=feed, report=self._report, options=options)
        self._calls = Calls(
            hub=hub,
            lease=lease,
            vault=vault,
            report=self._report,
            may_begin=self._open,
            ring=self._bell.set,
            clock=clock,
            passing=passing,
            stands=self._stands,
        )
        self._culprits = Culprits()
        self._state = ShardState.CLOSED
        self._why: str | None = None
        self._interrupted: str | None = None
        """What keeps it from opening, or has interrupted it again and again."""
        self._memory: Memory | None = None
        self._task: asyncio.Task[None] | None = None
        self._wanted = False
        self._drained = False
        self._taken: dict[Input, int] | None = None
        self._failures = 0
        self._fenced = False

    # --- from outside -------------------------------------------------------------

    @property
    def state(self) -> ShardState:
        """Where the shard is in its life."""
        return self._state

    @property
    def why(self) -> str | None:
        """Why it does not open, or does not stay open."""
        return self._why or self._interrupted

    @property
    def partition(self) -> int:
        """The partition that it owns."""
        return self._options.partition

    def position(self) -> dict[Input, int] | None:
        """Return the committed position of a shard that is wanted: what the lease shows to the group.

        After a clean drain it stays, for the group's last commit; if the last commit failed there is none.
        """
        shown = self._wanted or self._drained or self._state is ShardState.DRAINING
        return self._taken if shown else None

    def start(self) -> None:
        """Claim the partition and serve it, in a task of the shard's own."""
        self._wanted = True
        if self._task is None or self._task.done():
            self._taken = None
            self._drained = False
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
        if self._open():
            self._inflow.offer(records)
            self._bell.set()

    def holds_changed(self) -> None:
        """Look again at what is held: the holds moved, or became known."""
        self._inflow.holds_moved = True
        self._bell.set()

    async def drain(self) -> None:
        """Let go: no new calls; those in flight end or are cut, what never began is journaled."""
        self._wanted = False
        task = self._task
        if task is None or task.done():
            return
        if self._state is ShardState.OPEN:
            self._become(ShardState.DRAINING)
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
            await self._calls.cut()
            self._become(ShardState.CLOSED)
            self._inflow.clear()

    async def _live_once(self) -> bool:
        """Claim and serve until drained (True), or until something breaks (False: try again)."""
        self._become(ShardState.CLAIMING)
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
            if self._failures or not self._open():
                self._interrupted = str(error)
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
            await self._calls.cut()
            self._become(ShardState.CLOSED)
            self._inflow.clear()
        return False

    def _crash(self, event: str, error: Exception) -> None:
        self._memory = None
        if isinstance(error, HandlingFailed):
            self._report.event(event, cause=str(error), error=error.error)
        else:
            self._report.event(event, cause=str(error))

    def _refused(self, error: WriteRefused) -> None:
        """Go on without the culprit, once it is found; say why if there is none to be found."""
        serving = self._open()
        curable = self._culprits.refused(error, serving=serving, now_at=self._clock())
        if not self._culprits.one_by_one:
            self._why = str(error)
        self._crash("transaction.split" if curable and serving else "shard.refused", error)

    def _failed(self, failure: HandlingFailed) -> None:
        if self._culprits.failed(failure):
            self._crash("saga.crashed", failure)
            return
        self._why = str(failure)
        self._crash("shard.refused", failure)

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
        if self._culprits.refusals > 1:
            # Each new try parks one input before it learns that all are refused: try less and less often.
            gap_ms = min(REFUSED_GAP_MOST_MS, self._options.retry_ms * 2 ** min(self._culprits.refusals, 8))
        await asyncio.sleep(gap_ms / 1000)

    # --- claim ------------------------------------------------------------------------

    async def _claim(self) -> None:
        """Become the only writer and know everything, or raise."""
        self._culprits.blame_nobody()
        memory = self._memory
        if memory is not None and not await self._still_ours(memory):
            memory = self._memory = None
        if memory is None:
            memory = await self._restore()
        else:
            self._report.event("shard.kept")
            self._passing(CrashPoint.KEPT)
        if memory.position is None:
            raise AssertionError("a claimed shard has a position")
        self._memory = memory
        claim.wake_up(memory, self._hub.line)
        self._intake = self._make_intake(memory)
        doomed = claim.given_up(memory, self._vault, keys=self._options.given_up_keys)
        self._culprits.named.update((key, (Reason.CRASHED, message)) for key, message in doomed.items())
        self._calls.came.clear()
        self._taken = dict(memory.position)
        self._why = self._interrupted = None
        self._become(ShardState.OPEN)
        self._inflow.begin(memory.position)
        self._bell.set()
        self._report.event("shard.opened")
        self._passing(CrashPoint.OPENED)

    async def _restore(self) -> Memory:
        """Fence whoever wrote before, read the journal, and write the position if it is new."""
        options, vault, loop = self._options, self._vault, asyncio.get_running_loop()
        await self._log.fence()
        self._report.event("shard.claimed")
        self._passing(CrashPoint.FENCED)
        began = loop.time()
        memory = await claim.restore(self._log, passing=self._passing)
        claim.check_keys(memory, vault, given_up=options.given_up_keys)
        bounds = await self._log.bounds()
        position = claim.first_position(
            memory, bounds, partition=options.partition, accept_loss=options.accept_loss
        )
        self._report.restored(sagas=len(memory.entries), took_ms=(loop.time() - began) * 1000)
        self._passing(CrashPoint.RESTORED)
        given_up = options.given_up_keys - vault.fingerprint_keys
        named = (memory.fingerprint_keys - given_up) | {vault.fingerprint_key}
        if memory.position != position or memory.fingerprint_keys != named:
            memory.position, memory.fingerprint_keys = position, named
            await self._write_position(memory)
            self._passing(CrashPoint.POSITION_WRITTEN)
        return memory

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

    def _make_intake(self, memory: Memory) -> Intake:
        options, vault = self._options, self._vault
        rules = AdmissionRules(
            partition=options.partition,
            partitions=options.partitions,
            profile=self._profile,
            record_bytes=options.record_bytes,
        )
        self._driver = driver = Driver(memory, self._around, doomed=self._culprits.named)
        letters = Letters(memory=memory, vault=vault, record_bytes=options.record_bytes)
        admission = Admission(
            memory=memory, driver=driver, letters=letters, vault=vault, rules=rules, fits=self._log.fits
        )
        return Intake(
            memory=memory,
            driver=driver,
            letters=letters,
            admission=admission,
            notices=Notices(memory=memory, driver=driver, letters=letters, vault=vault, rules=rules),
            commands=Commands(
                memory=memory, driver=driver, admission=admission, letters=letters, vault=vault
            ),
            log=self._log,
            inflow=self._inflow,
            calls=self._calls,
            culprits=self._culprits,
            options=options,
        )

    # --- the loop -----------------------------------------------------------------------

    async def _serve(self) -> None:
        memory = self._known()
        while self._open():
            await self._wait_for_work()
            if not self._open():
                break
            self._passing(CrashPoint.TAKEN)
            unit = self._unit()
            await self._intake.gather(unit)
            await self._commit(unit, memory)
            self._inflow.balance(memory)
            self._report.measure(memory, now_at=unit.now_at)
        await self._let_go(memory)

    async def _wait_for_work(self) -> None:
        while self._open():
            self._bell.clear()
            if self._intake.has_work(now_at=self._clock()):
                break
            wait_ms = self._next_wake()
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

    def _next_wake(self) -> int | None:
        now_at = self._clock()
        due_at = self._intake.next_at(now_at=now_at)
        return None if due_at is None else max(1, min(_TICK_MS, due_at - now_at))

    async def _commit(self, unit: Unit, memory: Memory) -> None:
        if unit.empty:
            self._culprits.settle(unit)
            self._calls.start(unit, memory)
            return
        self._passing(CrashPoint.DECIDED)
        writes = unit.seal(memory)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await self._log.commit(writes)
        if memory.position is not None:
            self._taken = dict(memory.position)
        self._culprits.settle(unit)
        self._report.committed(unit, records=len(writes), took_ms=(loop.time() - began) * 1000)
        self._failures = 0
        if self._linger is not None:
            self._linger.committed(self._options.partition)
        self._passing(CrashPoint.KNOWN)
        self._calls.start(unit, memory)

    async def _let_go(self, memory: Memory) -> None:
        """Wait for calls that have begun, then journal their results and the calls that never began."""
        self._passing(CrashPoint.DRAIN_BEGUN)
        await self._calls.let_end(most_ms=self._options.drain_ms)
        self._passing(CrashPoint.CALLS_ENDED)
        unit = self._unit()
        self._intake.wind_up(unit)
        await self._commit(unit, memory)
        self._drained = True
        self._report.event("shard.drained")
        self._passing(CrashPoint.WOUND_UP)

    # --- small things ---------------------------------------------------------------------------

    def _become(self, state: ShardState) -> None:
        self._state = state
        self._report.state(state)

    def _open(self) -> bool:
        return self._state is ShardState.OPEN

    def _stands(self, under_way: CallUnderWay, entry: Entry) -> bool:
        return self._driver.stands(under_way, entry, now_at=self._clock())

    def _unit(self) -> Unit:
        return Unit(now_at=self._clock(), source=self._options.source)

    def _known(self) -> Memory:
        if self._memory is None:
            raise AssertionError("an open shard has a memory")
        return self._memory
