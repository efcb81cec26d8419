"""Strikes a stage: each lane after its schedule, until the soak asks for calm; then everything runs again."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.faults.payment_side import set_rules
from tests.faults.stage import now_ms, until
from tests.soak.schedule import EXTRA, HURT, LANES, OUTAGES, PAYMENT, STEADY, WORLD, Blow, strikes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.faults.stage import Process, Stage
    from tests.soak.schedule import Strike
    from worker.sandbox.local_kafka import LocalKafka

STAFF: Final = (*HURT, STEADY)
"""The workers that are there from the beginning."""
STATIC: Final = frozenset({"a", "c"})
"""Workers with an instance id; the others are new to the group with each process."""
END_S: Final = 60.0
"""A worker that was asked to end is killed after so long, as an orchestrator does."""
_LONGEST_MS: Final = 120_000
"""A broker is back after this at the latest."""
_WATCH_S: Final = 0.5
_PAYMENT_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Struck:
    """One blow as it fell. Times are ms since the Unix epoch."""

    strike: Strike
    began_at: int
    ended_at: int
    worker: str = ""
    partitions: frozenset[int] = frozenset()
    """With a worker that was killed: what it had open."""


@dataclass(slots=True)
class Blows:
    """Strikes, and keeps what was done."""

    stage: Stage
    kafka: LocalKafka
    seed: int
    calm: asyncio.Event = field(default_factory=asyncio.Event)
    """Set: no further blow falls."""
    struck: list[Struck] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    """What a worker must not do, whatever is done to it."""
    fell: Counter[str] = field(default_factory=Counter)
    _staff: dict[str, Process] = field(default_factory=dict)
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)
    _dismissed: set[str] = field(default_factory=set)

    def hire(self, slot: str) -> Process:
        """Start a worker, the first time or anew."""
        instance_id = f"worker-{slot}" if slot in STATIC else None
        self._staff[slot] = self.stage.hire(slot, instance_id=instance_id)
        return self._staff[slot]

    async def strike(self) -> None:
        """Let blows fall in all lanes until `calm` is set; then let everything run that should."""
        async with asyncio.TaskGroup() as group:
            for lane in LANES:
                group.create_task(self._lane(lane))
            watching = group.create_task(self._watch())
            await self.calm.wait()
            for lane in LANES:  # a blow that has begun comes to its end
                async with self._lock(lane):
                    pass
            watching.cancel()

    async def restart_all(self) -> None:
        """Ask all workers to end, and start them anew. Raises AssertionError if one does not end well."""
        for slot in STAFF:
            process = self._staff[slot]
            code = await self._end(process)
            if code != 0:
                raise AssertionError(f"{process.name} ended with code {code}:\n{process.child.told()}")
        for slot in STAFF:
            self.hire(slot)

    async def mend(self) -> None:
        """Let broker and payment side run again, whatever was being done to them when a soak broke off."""
        with suppress(ProcessLookupError):
            self.kafka.resume()
        await self.kafka.start()
        self.stage.payment.resume()
        if not self.stage.payment.child.running:
            self.stage.payment.start()
        await until(self.stage.payment.listens, within_s=_PAYMENT_S, what="the payment side listens again")

    # --- lanes -------------------------------------------------------------------

    def _lock(self, lane: str) -> asyncio.Lock:
        return self._locks.setdefault(lane, asyncio.Lock())

    async def _lane(self, lane: str) -> None:
        for strike in strikes(self.seed, lane):
            try:
                async with asyncio.timeout(strike.after_ms / 1000):
                    await self.calm.wait()
            except TimeoutError:
                pass
            async with self._lock(lane):
                if self.calm.is_set():
                    return
                await self._fall(strike)

    async def _fall(self, strike: Strike) -> None:
        outage = f" ({strike.outage})" if strike.outage else ""
        self.stage.note(f"{strike.lane}: {strike.blow}{outage}, {strike.for_ms} ms")
        self.fell[strike.blow + outage] += 1
        if strike.lane == WORLD:
            await self._world(strike)
        elif strike.lane == PAYMENT:
            await self._payment(strike)
        else:
            await self._worker(strike)

    @asynccontextmanager
    async def _noted(self, strike: Strike, process: Process | None = None) -> AsyncIterator[None]:
        began_at = now_ms()
        gone = process is not None and strike.blow in {Blow.KILL, Blow.ALL_GONE}
        partitions = self.stage.opened(process) if process is not None and gone else frozenset[int]()
        yield
        self.struck.append(
            Struck(
                strike=strike,
                began_at=began_at,
                ended_at=now_ms(),
                worker="" if process is None else process.name,
                partitions=partitions,
            )
        )

    async def _worker(self, strike: Strike) -> None:
        slot = strike.lane
        away_s = strike.for_ms / 1000
        if slot == EXTRA:
            extra = self.hire(slot)
            async with self._noted(strike, extra):
                await asyncio.sleep(away_s)
                await self._end(extra)
            return
        process = self._staff[slot]
        async with self._noted(strike, process):
            match strike.blow:
                case Blow.KILL:
                    self.stage.kill(process)
                    self._dismissed.add(process.name)
                    await asyncio.sleep(away_s)
                    self.hire(slot)
                case Blow.TERM:
                    await self._end(process)
                    await asyncio.sleep(away_s)
                    self.hire(slot)
                case Blow.STOP | Blow.NAP:
                    freeze = self.stage.freeze(process, is_nap=strike.blow is Blow.NAP)
                    await asyncio.sleep(away_s)
                    self.stage.thaw(process, freeze)
                case _:
                    raise ValueError(f"{strike.blow} is nothing that a worker suffers alone")

    async def _world(self, strike: Strike) -> None:
        if strike.blow is Blow.ALL_GONE:
            await self._all_gone(strike)
            return
        began_at = now_ms()
        self.stage.shaken.append((began_at, began_at + _LONGEST_MS))
        async with self._noted(strike):
            match strike.blow:
                case Blow.BROKER_KILL:
                    self.kafka.kill()
                    await asyncio.sleep(strike.for_ms / 1000)
                    await self.kafka.restart()
                case Blow.BROKER_RESTART:
                    await self.kafka.restart()
                case Blow.BROKER_PAUSE:
                    self.kafka.pause()
                    await asyncio.sleep(strike.for_ms / 1000)
                    self.kafka.resume()
                case _:
                    raise ValueError(f"{strike.blow} is nothing that happens to the world")
        self.stage.shaken[-1] = (began_at, now_ms())
        self.stage.note("the broker serves again")

    async def _all_gone(self, strike: Strike) -> None:
        async with AsyncExitStack() as alone:
            for slot in STAFF:
                await alone.enter_async_context(self._lock(slot))
            for slot in STAFF:
                process = self._staff[slot]
                async with self._noted(strike, process):
                    self.stage.kill(process)
                    self._dismissed.add(process.name)
            await asyncio.sleep(strike.for_ms / 1000)
            for slot in STAFF:
                self.hire(slot)

    async def _payment(self, strike: Strike) -> None:
        payment = self.stage.payment
        away_s = strike.for_ms / 1000
        async with self._noted(strike):
            match strike.blow:
                case Blow.PAYMENT_KILL | Blow.PAYMENT_RESTART:
                    if strike.blow is Blow.PAYMENT_KILL:
                        payment.kill()
                    else:
                        payment.child.signal(signal.SIGTERM)
                        await payment.child.ended(within_s=_PAYMENT_S)
                    await asyncio.sleep(away_s)
                    payment.start()
                    await until(payment.listens, within_s=_PAYMENT_S, what="the payment side listens again")
                case Blow.PAYMENT_PAUSE:
                    payment.pause()
                    await asyncio.sleep(away_s)
                    payment.resume()
                case Blow.OUTAGE:
                    await set_rules(payment.url, {"rules": list(OUTAGES[strike.outage])})
                    await asyncio.sleep(away_s)
                    await set_rules(payment.url, {})
                case _:
                    raise ValueError(f"{strike.blow} is nothing that the payment side suffers")
        self.stage.note("the payment side is well again")

    # --- ends --------------------------------------------------------------------

    async def _end(self, process: Process) -> int | None:
        """Ask a worker to end; one that takes too long is killed, and that is told."""
        self._dismissed.add(process.name)
        heard = process.count("worker.started") > 0
        try:
            code = await self.stage.terminate(process, within_s=END_S)
        except TimeoutError:
            self.troubles.append(f"{process.name} did not end within {END_S:.0f} s of SIGTERM")
            self.stage.kill(process)
            return None
        # Before it has started there is nothing to bring to an end, and nobody to hear the signal.
        if code != 0 and (heard or code != -signal.SIGTERM):
            self.troubles.append(f"{process.name} ended with code {code} on SIGTERM:\n{process.child.told()}")
        return code

    async def _watch(self) -> None:
        """Start a worker anew that has ended by itself, as an orchestrator does, and tell."""
        while True:
            await asyncio.sleep(_WATCH_S)
            for slot in STAFF:
                process = self._staff[slot]
                if process.child.running or process.name in self._dismissed:
                    continue
                self._dismissed.add(process.name)
                self.stage.ends[process.name] = now_ms()
                self.stage.note(f"{process.name} has ended by itself with code {process.child.code}")
                self.troubles.append(f"{process.name} ended by itself:\n{process.child.told()}")
                self.hire(slot)
