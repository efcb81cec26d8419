"""Shards with one broken port each: what the simulation must find out."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from typing_extensions import override

from contracts.requests import UnbindingRequested
from contracts.topics import LogicalTopic
from tests.simulation.passing_log import PassingLog
from tests.simulation.subject import make_shard

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from contracts.requests import RebindingRequested
    from contracts.states import Step
    from tests.simulation.process import Ports, Shard
    from worker.ports import Hub, JournalRecord, Log, Write
    from worker.saga.results import Call, Result


class SplittingLog(PassingLog):
    """Writes the journal in a transaction of its own, after the rest."""

    @override
    async def commit(self, writes: Sequence[Write]) -> None:
        """Write in two transactions."""
        await self.log.commit([write for write in writes if write.topic is not LogicalTopic.JOURNAL])
        await self.log.commit([write for write in writes if write.topic is LogicalTopic.JOURNAL])


class EagerLog(PassingLog):
    """Says that a transaction is committed before it is."""

    def __init__(self, log: Log) -> None:
        super().__init__(log)
        self._before: asyncio.Task[None] | None = None

    @override
    async def commit(self, writes: Sequence[Write]) -> None:
        """Let the commit run on, and see only at the next one what became of it."""
        if self._before is not None:
            before, self._before = self._before, None
            await before
        self._before = asyncio.ensure_future(self.log.commit(writes))
        # Nobody may ever ask for what became of the last one.
        self._before.add_done_callback(lambda task: task.cancelled() or task.exception())


class TombstonelessLog(PassingLog):
    """Never removes a letter."""

    @override
    async def commit(self, writes: Sequence[Write]) -> None:
        """Leave the tombstones of letters out."""
        await self.log.commit(
            [
                write
                for write in writes
                if write.topic is not LogicalTopic.DEAD_LETTERS or write.value is not None
            ]
        )


class VerdictlessLog(PassingLog):
    """Never records a verdict."""

    @override
    async def commit(self, writes: Sequence[Write]) -> None:
        """Leave verdicts out."""
        await self.log.commit([write for write in writes if write.topic is not LogicalTopic.VERDICTS])


class ForgetfulLog(PassingLog):
    """Reads an empty journal."""

    async def _nothing(self) -> AsyncIterator[Sequence[JournalRecord]]:
        for _ in ():
            yield ()

    @override
    def journal(self) -> AsyncIterator[Sequence[JournalRecord]]:
        """Read nothing."""
        return self._nothing()


class TalkingLog(PassingLog):
    """Writes the last token that was called about into a header of each event."""

    def __init__(self, log: Log) -> None:
        super().__init__(log)
        self.token = ""

    @override
    async def commit(self, writes: Sequence[Write]) -> None:
        """Say too much."""
        header = ("debug", self.token.encode())
        await self.log.commit(
            [
                replace(write, headers=(*write.headers, header))
                if write.topic is LogicalTopic.STATES
                else write
                for write in writes
            ]
        )


class WatchedHub:
    """A hub that passes calls on, to be broken in one way."""

    def __init__(self, hub: Hub) -> None:
        self._whole = hub

    def line(self, step: Step) -> str:
        """Name the line."""
        return self._whole.line(step)

    async def perform(
        self, call: Call, request: UnbindingRequested | RebindingRequested, gate: Callable[[], None]
    ) -> Result:
        """Make the call."""
        return await self._whole.perform(call, request, gate)


class DoublingHub(WatchedHub):
    """Makes each call twice, at the same time."""

    @override
    async def perform(
        self, call: Call, request: UnbindingRequested | RebindingRequested, gate: Callable[[], None]
    ) -> Result:
        """Make the call, and make it again."""
        first, _ = await asyncio.gather(
            self._whole.perform(call, request, gate), self._whole.perform(call, request, gate)
        )
        return first


class TellingHub(WatchedHub):
    """Tells a log which token it was called about."""

    def __init__(self, hub: Hub, log: TalkingLog) -> None:
        super().__init__(hub)
        self._log = log

    @override
    async def perform(
        self, call: Call, request: UnbindingRequested | RebindingRequested, gate: Callable[[], None]
    ) -> Result:
        """Note the token and make the call."""
        if isinstance(request, UnbindingRequested):
            self._log.token = request.access_token or ""
        return await super().perform(call, request, gate)


class EternalLease:
    """A lease that never runs out."""

    def live(self) -> bool:
        """Say that it is live."""
        return True

    async def wait(self) -> None:
        """Return at once."""


def _hasty(ports: Ports) -> Ports:
    return replace(ports, clock=lambda: ports.clock() + (7_000 if ports.chance() < 0.5 else 0))


def _talking(ports: Ports) -> Ports:
    log = TalkingLog(ports.log)
    return replace(ports, log=log, hub=TellingHub(ports.hub, log))


@dataclass(frozen=True, slots=True)
class Mutant:
    """A shard whose ports are broken, and the promise that it breaks."""

    promise: str
    breaks: Callable[[Ports], Ports]

    def make_shard(self, ports: Ports) -> Shard:
        """Return the shard."""
        return make_shard(self.breaks(ports))


MUTANTS: dict[str, Mutant] = {
    "a journal that is not read": Mutant("P1", lambda ports: replace(ports, log=ForgetfulLog(ports.log))),
    "a journal apart from its events": Mutant(
        "P2", lambda ports: replace(ports, log=SplittingLog(ports.log))
    ),
    "a commit that is not awaited": Mutant("P3", lambda ports: replace(ports, log=EagerLog(ports.log))),
    "a clock that wavers": Mutant("P4", _hasty),
    "a call made twice": Mutant("P5", lambda ports: replace(ports, hub=DoublingHub(ports.hub))),
    "a letter that stays": Mutant("P6", lambda ports: replace(ports, log=TombstonelessLog(ports.log))),
    "a verdict that is missing": Mutant("P7", lambda ports: replace(ports, log=VerdictlessLog(ports.log))),
    "a token in an event": Mutant("P8", _talking),
}
"""By what is broken; there is one for each promise that the checker proves."""

LEASELESS = Mutant("P3", lambda ports: replace(ports, lease=EternalLease()))
"""Only a zombie shows it: found by freezing a worker."""
