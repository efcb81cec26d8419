"""The course of the demo: publish, wait, kill, mend, order, stop. Every wait has a bound."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from contracts.commands import CommandKind
from contracts.topics import LogicalTopic
from worker.oncall.demo.expectations import Act
from worker.oncall.demo.history import Kill
from worker.oncall.demo.reading import state_of, verdict_of
from worker.oncall.orders import Wish, make_orders
from worker.sandbox.payment import parse_rules

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from worker.oncall.cluster import Cluster, Found
    from worker.oncall.demo.board import Board, Progress
    from worker.oncall.demo.expectations import Case
    from worker.oncall.demo.stage import Stage
    from worker.oncall.demo.view import View
    from worker.oncall.outside import OpenCluster

_POLL_S: Final = 0.02
_WAIT_S: Final = 30.0
"""How long any single wait may take; a good machine needs a tenth of it."""
_ORDER_BY: Final = "demo"
_WHY: Final = {
    CommandKind.REPLAY: "the payment side is mended",
    CommandKind.DISCARD: "agreed with the merchant: nothing is left to do",
}


class GaveUp(Exception):
    """A wait took too long, or the worker ended by itself; the text says what was waited for."""


@dataclass(slots=True, kw_only=True)
class Played:
    """What only the player knows."""

    kill: Kill | None = None
    exit_code: int | None = None
    gave_up: str | None = None
    """What was waited for in vain; the judgement says what is missing."""


class Player:
    """Plays the plan on a stage."""

    def __init__(
        self,
        *,
        plan: Sequence[Case],
        stage: Stage,
        cluster: Cluster,
        open_cluster: OpenCluster,
        board: Board,
        view: View,
    ) -> None:
        self._plan = plan
        self._stage = stage
        self._cluster = cluster
        self._open_cluster = open_cluster
        self._board = board
        self._view = view
        self._ledger = stage.box.ledger
        self._following: list[asyncio.Task[None]] = []

    async def play(self) -> Played:
        """Play all acts; a wait in vain ends it early, and in both cases the worker is stopped."""
        played = Played()
        self._following = [asyncio.create_task(work) for work in self._readers()]
        try:
            await self._acts(played)
        except GaveUp as error:
            played.gave_up = str(error)
        finally:
            for task in self._following:
                task.cancel()
            await asyncio.wait(self._following)
        self._view.tell("stopping the worker (SIGTERM), then reading all topics again from their beginning")
        played.exit_code = await self._stage.worker.stop()
        return played

    async def _acts(self, played: Played) -> None:
        board, worker = self._board, self._stage.worker
        await self._publish(Act.OPENING)
        await worker.start()
        self._view.tell("the worker starts")
        await self._until(
            lambda: all(one.far_enough_for_the_kill for one in board.of(Act.OPENING)),
            "the first requests to be under way",
        )
        await self._publish(Act.BEFORE_KILL)
        doomed = [one.case for one in board.of(Act.BEFORE_KILL)]
        await self._until(
            lambda: self._in_flight(doomed) == len(doomed), f"{len(doomed)} slow calls in flight"
        )
        played.kill = await self._kill(doomed)
        await self._until(
            lambda: all(one.can_be_ordered for one in board if one.case.order is not None),
            "the dead letters",
        )
        await self._order()
        await self._until(
            lambda: all(one.settled for act in (Act.OPENING, Act.BEFORE_KILL) for one in board.of(act)),
            "the ends of all sagas",
        )
        await self._publish(Act.CLOSING)
        await self._until(lambda: all(one.settled for one in board), "the end of the last request")

    async def _kill(self, doomed: Sequence[Case]) -> Kill:
        in_flight = self._in_flight(doomed)
        await self._stage.worker.kill()
        killed_at = _now()
        self._view.tell(f"worker killed with SIGKILL: {in_flight} calls in flight")
        await self._stage.worker.start()
        await self._until(lambda: self._sign_of_life(killed_at) is not None, "the worker to come back")
        back_at = self._sign_of_life(killed_at) or _now()
        self._view.tell(f"worker is back after {(back_at - killed_at) / 1000:.1f} s")
        return Kill(killed_at=killed_at, back_at=back_at, in_flight=in_flight)

    async def _order(self) -> None:
        mended = [{"token": one.case.token, "do": "allow"} for one in self._board if one.case.mended]
        self._stage.box.rules = parse_rules({"rules": mended})
        now_at = _now()
        orders = [
            order
            for kind, why in _WHY.items()
            for order in make_orders(
                self._board.to_order(kind),
                Wish(kind=kind, by=_ORDER_BY, why=why),
                now_at=now_at,
                plan_id=f"demo-{kind}",
            )
        ]
        await self._cluster.publish([order.message for order in orders])
        self._view.tell(f"sandbox mended; {len(orders)} commands given: replay, discard")

    async def _publish(self, act: Act) -> None:
        messages = [record.message for case in self._plan for record in case.published if record.act is act]
        await self._cluster.publish(messages)
        self._view.tell(f"{len(messages)} requests published")

    def _in_flight(self, cases: Sequence[Case]) -> int:
        """Count the cases whose call of the step that the kill is to cut off is in flight."""
        count = 0
        for case in cases:
            known = self._ledger.token(case.token)
            calls = self._ledger.calls(token=case.token)
            count += bool(calls and calls[-1].number in known.in_flight and calls[-1].api == case.in_flight)
        return count

    def _sign_of_life(self, killed_at: int) -> int | None:
        calls = (call.received_at for call in self._ledger.calls())
        events = (seen.event.at_ms for one in self._board for seen in one.states)
        return min((at for moments in (calls, events) for at in moments if at > killed_at), default=None)

    async def _until(self, done: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _WAIT_S
        while not done():
            for task in self._following:
                if task.done():
                    task.result()
            if self._stage.worker.exit_code is not None:
                raise GaveUp(f"the worker ended with code {self._stage.worker.exit_code} before {what}")
            if time.monotonic() > deadline:
                raise GaveUp(f"waited {_WAIT_S:.0f} s for {what}")
            await asyncio.sleep(_POLL_S)

    def _readers(self) -> list[Coroutine[None, None, None]]:
        # Records that break the contract are left to the judgement, which reads all again and names them.
        return [
            self._follow(LogicalTopic.STATES, self._take_state),
            self._follow(LogicalTopic.DEAD_LETTERS, self._board.take_letter),
            self._follow(LogicalTopic.VERDICTS, self._take_verdict),
        ]

    async def _follow(self, topic: LogicalTopic, take: Callable[[Found], Progress | None]) -> None:
        # A cluster of its own: over one connection the topics' long polls would wait for each other.
        async with self._open_cluster(self._stage.settings) as cluster:
            async for batch in cluster.follow(topic, since=0):
                for found in batch:
                    progress = take(found)
                    if progress is not None:
                        self._view.changed(progress)

    def _take_state(self, found: Found) -> Progress | None:
        seen = state_of(found)
        return None if seen is None else self._board.take_state(seen)

    def _take_verdict(self, found: Found) -> Progress | None:
        verdict = verdict_of(found)
        return None if verdict is None else self._board.take_verdict(verdict)


def _now() -> int:
    return time.time_ns() // 1_000_000
