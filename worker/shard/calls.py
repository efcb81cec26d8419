"""Makes the calls of committed units: each waits for the lease, passes the gate, and brings its result."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from worker.crash_points import CrashPoint
from worker.ports import NotBegun
from worker.saga.calling import has_expired, is_guarded, take_back
from worker.saga.model import Phase
from worker.shard.under_way import CallUnderWay, Came
from worker.shard.unsealing import request_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.crash_points import Passing
    from worker.ports import Hub, Lease
    from worker.saga.results import Call
    from worker.shard.memory import Entry, Memory
    from worker.shard.report import Report
    from worker.shard.unit import Unit
    from worker.shard.vault import Vault


class Calls:
    """The calls of one shard: a task for each, and what became of them until the loop takes it."""

    def __init__(
        self,
        *,
        hub: Hub,
        lease: Lease,
        vault: Vault,
        report: Report,
        may_begin: Callable[[], bool],
        ring: Callable[[], None],
        clock: Callable[[], int],
        passing: Passing,
        stands: Callable[[CallUnderWay, Entry], bool],
    ) -> None:
        """``may_begin`` tells whether the shard is open; ``ring`` wakes its loop when a call has ended.

        ``stands`` tells of a call in line whether nothing has come before it since it was decided.
        """
        self._hub = hub
        self._lease = lease
        self._vault = vault
        self._report = report
        self._may_begin = may_begin
        self._ring = ring
        self._clock = clock
        self._passing = passing
        self._stands = stands
        self.under_way: set[CallUnderWay] = set()
        self.came: deque[Came] = deque()
        """Results that no unit has taken yet."""

    def start(self, unit: Unit, memory: Memory) -> None:
        """Start the calls of a unit that is committed, where the saga is still calling."""
        loop = asyncio.get_running_loop()
        for saga_id, call in unit.calls.items():
            entry = memory.entries.get(saga_id)
            if entry is None or entry.saga.phase is not Phase.CALLING or entry.call is not None:
                continue
            under_way = CallUnderWay(saga_id, call, self._hub.line(call.step), unit.now_at)
            entry.call = under_way
            self.under_way.add(under_way)
            under_way.task = loop.create_task(self._make(under_way, entry))

    async def _make(self, under_way: CallUnderWay, entry: Entry) -> None:
        came = Came(under_way)
        try:
            came = await self._perform(under_way, under_way.call, entry)
        finally:
            self.under_way.discard(under_way)
            self.came.append(came)
            self._ring()

    async def _perform(self, under_way: CallUnderWay, call: Call, entry: Entry) -> Came:
        barred = False

        def gate() -> None:
            nonlocal barred
            if under_way.void or not self._may_begin() or not self._lease.live():
                raise NotBegun
            barred = self._is_barred(under_way, entry)
            if barred:
                raise NotBegun
            if not under_way.begun:
                under_way.begun = True
                under_way.stood_ms = round((loop.time() - decided) * 1000)
            self._passing(CrashPoint.GATE_PASSED)

        loop = asyncio.get_running_loop()
        decided = loop.time()
        self._passing(CrashPoint.IN_LINE)
        while True:
            if not self._lease.live():
                await self._lease.wait()
            try:
                request = request_of(entry, self._vault)
                began = loop.time()
                result = await self._hub.perform(call, request, gate)
            except NotBegun:
                if under_way.void or not self._may_begin() or barred:
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
                self._passing(CrashPoint.RESULT)
                return Came(under_way, result=result)

    def _is_barred(self, under_way: CallUnderWay, entry: Entry) -> bool:
        """Tell whether something has come before the call since it was decided: then it is decided anew."""
        return self._is_too_late(under_way, entry) or not self._stands(under_way, entry)

    def _is_too_late(self, under_way: CallUnderWay, entry: Entry) -> bool:
        """Tell whether ``expiresAt`` passed while the call stood in line, or between its quick tries."""
        saga = entry.saga
        if saga.expires_at is None or not has_expired(saga, at=self._clock()):
            return False
        return is_guarded(saga if under_way.begun else take_back(saga), under_way.call.step)

    async def let_end(self, *, most_ms: int) -> None:
        """Cancel the calls that have not begun, and wait for those that have."""
        for under_way in tuple(self.under_way):
            if not under_way.begun and under_way.task is not None:
                under_way.task.cancel()
        tasks = self._tasks()
        if tasks:
            await asyncio.wait(tasks, timeout=most_ms / 1000)

    async def cut(self) -> None:
        """End all calls now, and forget what became of them."""
        tasks = self._tasks()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self.under_way.clear()
        self.came.clear()

    def _tasks(self) -> set[asyncio.Task[None]]:
        return {under_way.task for under_way in self.under_way if under_way.task is not None}
