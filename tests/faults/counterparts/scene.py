"""A stage whose payment side is told what to do, call by call, and hurt; and what came of each request."""

from __future__ import annotations

from collections import defaultdict
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import orjson

from contracts.topics import LogicalTopic, topic_name
from tests.faults.counterparts.errands import Errand, Upstream, open_upstream
from tests.faults.counterparts.habits import Habits, settings_text
from tests.faults.counterparts.processes import Payment, Staff, Watched
from tests.faults.judgement import Remains, judge
from tests.faults.rounds import at_rest
from tests.faults.stage import PARTITIONS, Process, Stage, now_ms, open_stage, until
from worker.sandbox.local_kafka import free_ports
from worker.sandbox.payment import fingerprint
from worker.verify.checker import Violation, check

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence
    from pathlib import Path

    from tests.faults.counterparts.worker_clock import WorkerClock
    from tests.faults.payment_side import LedgerCall

WRITTEN_AT: Final = "written_at"
"""Beside an event's own members: when it was written, by the machine's clock."""


@dataclass(slots=True, kw_only=True)
class Scene:
    """A stage, and the payment side's strings; made by ``open_scene``."""

    stage: Stage
    upstream: Upstream
    habits: Habits
    urls: dict[str, str] = field(default_factory=dict)
    """Where ``hub`` and ``tokens`` are called, if not at the payment side's own address."""
    certificates: Path | None = None
    """Of the authority to trust."""
    rules: list[dict[str, Any]] = field(default_factory=list)
    """What a test has told the payment side so far, where it adds to it."""
    errands: dict[str, Errand] = field(default_factory=dict)
    """What upstream has sent, by binding id."""
    sent_at: dict[str, int] = field(default_factory=dict)
    """When, by binding id: ms since the Unix epoch."""

    # --- the payment side ---------------------------------------------------------

    async def tell(self, *rules: dict[str, Any], **others: Any) -> None:
        """Give the payment side these rules instead of all it had."""
        document = {"rules": list(rules), "token_words": False} | others
        url = f"{self.stage.payment_url}/sandbox/rules"
        async with aiohttp.ClientSession() as session, session.put(url, json=document) as answer:
            assert answer.status == 200, await answer.text()

    def kill_payment(self) -> None:
        """SIGKILL the payment side."""
        self.stage.note("the payment side is killed")
        self.stage.payment.kill()

    async def start_payment(self) -> None:
        """Start the payment side again, at the same address, with the ledger it had; its rules are gone."""
        payment = self.stage.payment
        payment.start()
        await until(payment.listens, within_s=60, what="the payment side listens again")
        self.stage.note("the payment side serves again")

    async def calls(self, *errands: Errand, step: str | None = None) -> list[LedgerCall]:
        """Return the calls so far, all or those of some requests, in the order in which they came."""
        wanted = {fingerprint(one.token) for one in errands}
        return [
            call
            for call in await self.stage.ledger()
            if (not errands or call.fingerprint in wanted) and step in (None, call.step)
        ]

    # --- workers --------------------------------------------------------------------

    def hire(self, slot: str, *, clock: WorkerClock | None = None, after: Process | None = None) -> Staff:
        """Start a worker; ``after`` another process, it calls under the same client id and logs on."""
        stage = self.stage
        if after is None:
            lives = sum(process.name.startswith(f"{slot}-") for process in stage.processes)
            name = f"{slot}-{lives + 1}"
        else:
            name = after.name
            stage.processes.remove(after)
            stage.ends.pop(name, None)
        port = free_ports(nodes=1)[0].clients
        config = stage.directory / f"{name}.toml"
        text = settings_text(
            stage, self.habits, worker=name, port=port, urls=self.urls, certificates=self.certificates
        )
        config.write_text(text, encoding="utf-8")
        module, arguments = "worker", ["run", "--config", str(config)]
        if clock is not None:
            module, arguments = f"{__package__}.clocked_worker", [str(config), str(clock.file)]
        child = Watched(
            module,
            arguments,
            output=stage.directory / f"{name}.log",
            errors=stage.directory / f"{name}.err",
        )
        staff = Staff(name, child, stage.notes, port=port, clock=clock)
        stage.processes.append(staff)
        stage.note(f"{name} starts")
        return staff

    async def metrics(self, staff: Staff) -> str:
        """Return a worker's metrics, as text."""
        url = f"http://127.0.0.1:{staff.port}/metrics"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return await answer.text()

    # --- requests and what came of them -----------------------------------------------

    async def send(self, errands: Sequence[Errand], *, over_s: float = 0) -> None:
        """Send requests, evenly over the time."""

        def sent(one: Errand) -> None:
            self.errands[one.binding_id] = one
            self.sent_at[one.binding_id] = now_ms()

        await self.upstream.send(errands, over_s=over_s, sent=sent)

    async def latencies_ms(self, errands: Iterable[Errand]) -> list[int]:
        """Return the time from each request to its last event so far, the shortest first."""
        courses = await self.courses()
        return sorted(
            courses[one.binding_id][-1][WRITTEN_AT] - self.sent_at[one.binding_id] for one in errands
        )

    async def courses(self) -> dict[str, list[dict[str, Any]]]:
        """Return the events of each binding so far, in order."""
        await self.stage.archive.catch_up()
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for stored in self._written(LogicalTopic.STATES):
            event = orjson.loads(stored.value or b"{}") | {WRITTEN_AT: stored.timestamp_at}
            found[event["bindingId"]].append(event)
        return found

    async def course(self, one: Errand) -> list[dict[str, Any]]:
        """Return the events of one request's binding so far."""
        return (await self.courses()).get(one.binding_id, [])

    async def letters(self) -> dict[str, dict[str, str]]:
        """Return the headers of the letters that stand, by binding id."""
        await self.stage.archive.catch_up()
        standing: dict[bytes, dict[str, str]] = {}
        for stored in self._written(LogicalTopic.DEAD_LETTERS):
            if stored.value is None:
                standing.pop(stored.key or b"", None)
            else:
                standing[stored.key or b""] = {
                    name: value.decode(errors="replace") for name, value in stored.headers
                }
        return {headers["unbinding-binding-id"]: headers for headers in standing.values()}

    def _written(self, topic: LogicalTopic) -> Iterable[Any]:
        for partition in range(PARTITIONS):
            yield from self.stage.archive.archive(topic_name(topic), partition)

    async def states(self, errands: Iterable[Errand]) -> list[str]:
        """Return the last state of each request, `` `` for one that nobody has spoken of."""
        courses = await self.courses()
        return [courses[one.binding_id][-1]["state"] if one.binding_id in courses else "" for one in errands]

    async def all_are(self, errands: Sequence[Errand], *states: str, within_s: float = 60) -> None:
        """Wait until the last state of each request is one of these."""
        last: list[str] = []

        async def reached() -> bool:
            nonlocal last
            last = await self.states(errands)
            return all(state in states for state in last)

        try:
            await until(reached, within_s=within_s, what=f"all are {' or '.join(states)}", look_s=0.1)
        except TimeoutError as error:
            others = [state for state in last if state not in states]
            raise TimeoutError(f"{error}; {len(others)} of {len(last)} are {sorted(set(others))}") from None

    async def some_are(self, errands: Sequence[Errand], state: str, *, within_s: float = 60) -> None:
        """Wait until the last state of at least one request is this."""

        async def reached() -> bool:
            return state in await self.states(errands)

        await until(reached, within_s=within_s, what=f"one is {state}", look_s=0.1)

    async def in_flight(self, errands: Sequence[Errand], *, step: str, within_s: float = 20) -> None:
        """Wait until the payment side has a call of each of these requests in its hands."""

        async def reached() -> bool:
            open_calls = {call.fingerprint for call in await self.calls(step=step) if call.ended is None}
            return all(fingerprint(one.token) in open_calls for one in errands)

        await until(reached, within_s=within_s, what=f"{step} is in flight")

    # --- judgement ----------------------------------------------------------------------

    async def rest(self, *, within_s: float = 120) -> None:
        """Wait until each request has come to its end."""
        await at_rest(self.stage, within_s=within_s)

    async def judged(self) -> None:
        """Have everything judged; raises AssertionError with what was broken.

        Where a worker has a clock of its own, its calls are judged by that clock (P4).
        """
        stage = self.stage
        await stage.archive.catch_up()
        outputs = {
            file.name: file.read_bytes()
            for process in stage.processes
            for file in (process.child.output, process.child.errors)
        }
        for staff in stage.running:
            if isinstance(staff, Staff):
                outputs[f"metrics of {staff.name}"] = (await self.metrics(staff)).encode()
        history, violations = judge(
            Remains(
                archive=stage.archive,
                ledger=await stage.ledger(),
                lines=stage.lines(),
                freezes=stage.freezes,
                ends=stage.ends,
                call_ms=stage.call_ms,
                tokens=[one.token for one in self.errands.values()],
                outputs=outputs,
            )
        )
        clocks = {
            process.name: process.clock
            for process in stage.processes
            if isinstance(process, Staff) and process.clock is not None
        }
        if clocks:
            for attempt in history.attempts:
                attempt.begun_at = clocks[attempt.process].latest(attempt.begun_at)
            in_time = [violation for violation in check(history) if violation.promise == "P4"]
            violations = [violation for violation in violations if violation.promise != "P4"] + in_time
        assert not violations, _told(violations, stage)


def _told(violations: Sequence[Violation], stage: Stage) -> str:
    return "\n".join([*map(str, violations[:8]), f"{len(violations)} in all; logs: {stage.directory}"])


@asynccontextmanager
async def open_scene(
    directory: Path, *, bootstrap_servers: str, prefix: str, habits: Habits | None = None
) -> AsyncIterator[Scene]:
    """Open a stage with a payment side that can be told what to do, killed and started again."""
    habits = habits or Habits()
    async with AsyncExitStack() as opened:
        stage = await opened.enter_async_context(
            open_stage(directory, bootstrap_servers=bootstrap_servers, prefix=prefix, call_ms=habits.call_ms)
        )
        # The stage's own payment side refuses what a worker with another clock signs.
        stage.payment.kill()
        stage.payment = payment = Payment(directory)
        payment.start()
        opened.callback(payment.kill)
        await until(payment.listens, within_s=60, what="the payment side listens")
        upstream = await opened.enter_async_context(open_upstream(bootstrap_servers, stage.requests))
        scene = Scene(stage=stage, upstream=upstream, habits=habits)
        await scene.tell()
        yield scene
