"""A whole soak: load and blows for a time, looks on the way, then calm, rest, judgement, restart, figures."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Final

from contracts.topics import LogicalTopic
from tests.faults.load import Load
from tests.faults.oncall import OnCall, attend
from tests.faults.sending import Sender, play_out
from tests.faults.stage import PARTITIONS, now_ms, open_stage, until
from tests.soak.blows import STAFF, Blows
from tests.soak.figures import Sample, sample
from tests.soak.leavings import dump_topics, ends
from tests.soak.outcome import Course, Outcome
from tests.soak.report import report_of
from tests.soak.window import Window
from worker.ports import LogError
from worker.sandbox.kafka_errors import SandboxKafkaError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from tests.faults.stage import Stage
    from worker.sandbox.local_kafka import LocalKafka
    from worker.verify.checker import Violation

STUCK_MS: Final = 1_200_000
"""While faults go on, a stopped line may be tried again only after ten minutes; longer nobody waits."""
_FAILURES: Final = (TimeoutError, AssertionError, LogError, OSError, SandboxKafkaError)
_SAMPLE_S: Final = 5.0
_FLUSH_S: Final = 120.0
_VERIFY_S: Final = 600.0
_HELD_MS: Final = 8_000
"""The longest hold of the load."""
_PROBES_MS: Final = 30_000 + 60_000
"""A line that a fault has stopped is tried after these waits."""
_LANE: Final = 3
"""Requests that wait for each other in one lane."""
_CALM_S: Final = 3.0
_OUTPUTS: Final = (LogicalTopic.STATES, LogicalTopic.DEAD_LETTERS, LogicalTopic.VERDICTS)


class Broken(Exception):
    """A promise was broken: the soak ends near the cause."""

    def __init__(self, violations: list[Violation]) -> None:
        super().__init__(f"{len(violations)} violations")
        self.violations = violations


async def soak(
    course: Course, *, directory: Path, kafka: LocalKafka, prefix: str, say: Callable[[str], None]
) -> Outcome:
    """Play a soak; what fails is in the outcome. `kafka` is the soak's own: it is killed, too."""
    outcome = Outcome(course=course, directory=directory)
    window = Window()
    async with open_stage(
        directory,
        bootstrap_servers=kafka.bootstrap_servers,
        prefix=prefix,
        notes=window.notes,
        take=window.take,
    ) as stage:
        run = Run(course, stage=stage, kafka=kafka, window=window, say=say)
        try:
            await run.play()
        except Broken as broken:
            outcome.violations += map(str, broken.violations)
        except (*_FAILURES, ExceptionGroup) as error:
            outcome.violations += _in_words(error)
        outcome.violations += run.blows.troubles
        if not outcome.good:
            with suppress(*_FAILURES):
                await run.blows.mend()
                await window.conclude(stage, at_rest=False)
        outcome.report = report_of(run)
        (directory / "report.txt").write_text(outcome.report.text(), encoding="utf-8")
        (directory / "report.md").write_text(outcome.report.markdown(), encoding="utf-8")
        (directory / "outcome.txt").write_text(outcome.told() + "\n", encoding="utf-8")
        if not outcome.good:
            (directory / "topics").mkdir()
            with suppress(*_FAILURES):
                await dump_topics(stage, directory / "topics")
    return outcome


class Run:
    """The course of one soak, and what it has measured."""

    def __init__(
        self,
        course: Course,
        *,
        stage: Stage,
        kafka: LocalKafka,
        window: Window,
        say: Callable[[str], None],
    ) -> None:
        self.course = course
        self.stage = stage
        self.window = window
        self.blows = Blows(stage=stage, kafka=kafka, seed=course.seed)
        self.samples: dict[str, list[Sample]] = {}
        self.others: dict[str, int] = {}
        """The most resident memory of processes that are no workers, in bytes."""
        self.sent: dict[LogicalTopic, int] = {}
        self.took_s: dict[str, float] = {}
        """How long the parts took: load, rest, verify, restart."""
        self.oncall = OnCall(random=Random(f"{course.seed}/oncall"), partitions=PARTITIONS)  # noqa: S311
        self.verified = "not reached"
        self.restarted = "not done"
        self._kafka = kafka
        self._say = say

    async def play(self) -> None:
        """Play it all. Raises Broken, TimeoutError or AssertionError where a promise is broken."""
        for slot in STAFF:
            self.blows.hire(slot)
        await self.stage.settled()
        self._say(f"soak: seed {self.course.seed}, {self.course.for_s:.0f} s; in {self.stage.directory}")
        sampling = asyncio.create_task(self._sample())
        try:
            began = time.monotonic()
            await self._storm()
            self.took_s["load and faults"] = time.monotonic() - began
            await self._timed("rest", self._rest())
            await self._timed("verify", self._verify())
            await self._timed("restart", self._restart())
        finally:
            sampling.cancel()

    async def _timed(self, what: str, doing: Coroutine[object, object, None]) -> None:
        began = time.monotonic()
        await doing
        self.took_s[what] = time.monotonic() - began
        self._say(f"{what}: {self.took_s[what]:.0f} s")

    # --- load and faults ---------------------------------------------------------

    async def _storm(self) -> None:
        random = Random(self.course.seed)  # noqa: S311 - a seed, no secret
        load = Load(random=random, partitions=PARTITIONS, begins_at=now_ms(), full=True)
        servers = self.stage.connection.bootstrap_servers
        async with Sender(bootstrap_servers=servers, prefix=self.stage.prefix) as sender:
            self.sent = sender.sent
            async with asyncio.TaskGroup() as group:
                striking = group.create_task(self.blows.strike())
                ordering = group.create_task(self._attend(sender))
                looking = group.create_task(self._look_on())
                await play_out(load.endless(self.course.rate), sender, until_s=self.course.for_s)
                self.stage.note("the load has ended")
                self.blows.calm.set()
                await striking
                self.stage.note("no more faults")
                ordering.cancel()
                looking.cancel()
            async with asyncio.timeout(_FLUSH_S):
                await sender.flush()

    async def _attend(self, sender: Sender) -> None:
        while True:
            # While the broker is away nobody sees a letter.
            with suppress(LogError, TimeoutError):
                await attend(
                    self.oncall, self.window.letters, archive=self.stage.archive, sender=sender, now=now_ms
                )

    async def _look_on(self) -> None:
        began = time.monotonic()
        while True:
            await asyncio.sleep(self.course.look_s)
            try:
                found = await self.window.look(self.stage, now_at=now_ms(), stuck_ms=STUCK_MS)
            except (LogError, TimeoutError, OSError) as error:
                self.stage.note(f"no look: {error}")
                continue
            if found:
                self.stage.note("a promise is broken")
                raise Broken(found)
            if self.blows.troubles:
                raise AssertionError("a worker did what it must not")
            tally = self.window.tally
            self._say(
                f"{time.monotonic() - began:5.0f} s: {self.sent.get(LogicalTopic.REQUESTS, 0)} requests, "
                f"{sum(self.blows.fell.values())} blows, {tally.events.total()} events; "
                f"at rest and judged {tally.judged}, letters {len(self.window.letters.standing)}"
            )

    async def _sample(self) -> None:
        while True:
            at_s = time.monotonic()
            for process in self.stage.running:
                if (found := sample(process.child.pid, at_s=at_s)) is not None:
                    self.samples.setdefault(process.name, []).append(found)
            for name, pid in (
                ("the soak itself", os.getpid()),
                ("payment side", self.stage.payment.child.pid),
            ):
                if (found := sample(pid, at_s=at_s)) is not None:
                    self.others[name] = max(self.others.get(name, 0), found.rss_bytes)
            await asyncio.sleep(_SAMPLE_S)

    # --- the end -----------------------------------------------------------------

    @property
    def rest_s(self) -> float:
        """In this time everything comes to rest: all patience of all that wait for each other in a lane."""
        stage = self.stage
        patience_ms = _LANE * (stage.consult_ms + stage.cancel_ms + 2 * stage.call_ms)
        return (_HELD_MS + patience_ms + _PROBES_MS + 2 * stage.session_ms) / 1000 + 30

    async def _rest(self) -> None:
        began_at = now_ms()
        await self.stage.settled()
        left: list[Violation] = []

        async def ended() -> bool:
            nonlocal left
            history, left = await self.window.unended(self.stage)
            # A line that failed its probes is tried later: the saga itself says when.
            announced = max((event.next_attempt_at or 0 for event in history.states), default=0)
            if left and now_ms() > max(began_at, announced) + self.rest_s * 1000:
                raise Broken(left)
            return not left

        await until(ended, within_s=10 * self.rest_s, what="everything is at rest", look_s=1.0)
        found = await self.window.conclude(self.stage, at_rest=True)
        if found:
            raise Broken(found)

    async def _verify(self) -> None:
        """Let the real program judge: `unbinding verify`."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "worker",
            "verify",
            "--config",
            str(self.stage.directory / f"{self.stage.running[0].name}.toml"),
            "--at-rest",
            "--ledger",
            self.stage.payment_url,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(_VERIFY_S):
            said, _ = await process.communicate()
        (self.stage.directory / "verify.txt").write_bytes(said)
        self.verified = f"exit code {process.returncode}"
        if process.returncode != 0:
            text = said.decode(errors="replace")[-4000:]
            raise AssertionError(f"unbinding verify ended with code {process.returncode}:\n{text}")

    async def _restart(self) -> None:
        """Restart all workers: nothing may follow from it."""
        before = await ends(self.stage, *_OUTPUTS), len(await self.stage.ledger())
        await self.blows.restart_all()
        await self.stage.settled()
        await asyncio.sleep(_CALM_S)  # what must not come has no condition to wait for
        after = await ends(self.stage, *_OUTPUTS), len(await self.stage.ledger())
        if before != after:
            raise AssertionError(f"a restart at rest changed something: {before} became {after}")
        self.restarted = "changed nothing"


def _in_words(error: BaseException) -> list[str]:
    if isinstance(error, BaseExceptionGroup):
        return [said for inner in error.exceptions for said in _in_words(inner)]
    if isinstance(error, Broken):
        return [str(violation) for violation in error.violations]
    return [f"{type(error).__name__}: {error}"]
