"""One round: a stage, a load, faults from a seed, rest, judgement; and what it leaves when it fails."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Final

from contracts.topics import LogicalTopic
from tests.faults.judgement import Remains, judge, open_requests
from tests.faults.load import Load
from tests.faults.oncall import Letters, OnCall, attend
from tests.faults.schedule import WORKERS, Kind, Performance, plan
from tests.faults.sending import Sender, play_out
from tests.faults.stage import PARTITIONS, now_ms, open_stage, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.stage import Stage
    from tests.simulation.cluster import Stored
    from worker.verify.checker import Violation

REST_S: Final = 120.0
"""In this time after the load everything must have come to its end: longer than any patience."""
_SHOWN: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What a round is made of; the same course gives the same load and the same schedule of faults."""

    seed: int
    kinds: frozenset[Kind]
    requests: int = 350
    over_ms: int = 12_000
    static: bool = False
    """Whether the workers have instance ids."""

    @property
    def replay(self) -> str:
        """The command that plays it again."""
        kinds = ",".join(sorted(self.kinds))
        static = " --static" if self.static else ""
        return (
            f"python -m tests.faults --seed {self.seed} --kinds {kinds} --requests {self.requests} "
            f"--over-ms {self.over_ms}{static}"
        )


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What came of a round."""

    course: Course
    directory: Path
    violations: list[Violation]
    failure: str | None = None
    sent: int = 0
    calls: int = 0
    states: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    """What was done to the workers."""
    ordered: Counter[str] = field(default_factory=Counter)
    """What those on call ordered."""

    @property
    def good(self) -> bool:
        """Whether every promise was kept."""
        return self.failure is None and not self.violations

    def told(self) -> str:
        """Tell what is wrong, where to look and how to play it again."""
        wrong = [str(violation) for violation in self.violations[:_SHOWN]]
        if len(self.violations) > _SHOWN:
            wrong.append(f"… and {len(self.violations) - _SHOWN} more")
        if self.failure is not None:
            wrong.append(self.failure)
        return "\n".join(
            [*(wrong or ["all promises kept"]), f"logs: {self.directory}", f"again: {self.course.replay}"]
        )


async def play(course: Course, *, directory: Path, bootstrap_servers: str, prefix: str) -> Outcome:
    """Play a round; what fails is in the outcome."""
    outcome = Outcome(course=course, directory=directory, violations=[])
    random = Random(course.seed)  # noqa: S311 - a seed, no secret
    load = Load(random=random, partitions=PARTITIONS, begins_at=now_ms(), full=True)
    load.plan(course.requests, over_ms=course.over_ms)
    faults = plan(course.seed, kinds=course.kinds, over_ms=course.over_ms)
    oncall = OnCall(random=random, partitions=PARTITIONS)
    letters = Letters()

    def take(topic: LogicalTopic, stored: Stored) -> bool:
        if topic is LogicalTopic.DEAD_LETTERS:
            letters.take(stored)
        return True

    async with (
        open_stage(directory, bootstrap_servers=bootstrap_servers, prefix=prefix, take=take) as stage,
        Sender(bootstrap_servers=bootstrap_servers, prefix=prefix) as sender,
    ):
        performance = Performance(stage, static=course.static)
        for slot in WORKERS:
            performance.hire(slot)
        try:
            await stage.settled()
            attending = attend(oncall, letters, archive=stage.archive, sender=sender, now=now_ms)
            async with asyncio.TaskGroup() as group:
                ordering = group.create_task(attending)
                async with asyncio.TaskGroup() as striking:
                    striking.create_task(play_out(load.planned, sender))
                    striking.create_task(performance.perform(faults))
                ordering.cancel()
            await sender.flush()
            outcome.sent = sender.sent[LogicalTopic.REQUESTS]
            outcome.ordered = oncall.ordered
            await at_rest(stage)
        except (TimeoutError, AssertionError, ExceptionGroup) as error:
            outcome.failure = _in_words(error)
        await conclude(stage, load, outcome)
    outcome.done = Counter(str(fault.kind) for fault in faults)
    (directory / "outcome.txt").write_text(outcome.told() + "\n", encoding="utf-8")
    return outcome


async def at_rest(stage: Stage, *, within_s: float = REST_S) -> None:
    """Wait until every request has come to its end. Raises TimeoutError, which names some that have not."""
    left: list[Violation] = []

    async def ended() -> bool:
        nonlocal left
        await stage.archive.catch_up()
        left = open_requests(stage.archive)
        return not left

    stage.note("everything is sent")
    try:
        await until(ended, within_s=within_s, what="every request has come to its end", look_s=0.5)
    except TimeoutError as error:
        some = "\n".join(str(violation) for violation in left[:3])
        raise TimeoutError(f"{error}; {len(left)} have not:\n{some}") from error
    stage.note("at rest")


async def conclude(stage: Stage, load: Load, outcome: Outcome) -> None:
    """Judge what the stage has left behind."""
    await stage.archive.catch_up()
    ledger = await stage.ledger()
    history, violations = judge(
        Remains(
            archive=stage.archive,
            ledger=ledger,
            lines=stage.lines(),
            freezes=stage.freezes,
            ends=stage.ends,
            call_ms=stage.call_ms,
            tokens=load.tokens,
            outputs={
                file.name: file.read_bytes()
                for process in stage.processes
                for file in (process.child.output, process.child.errors)
            },
        ),
        at_rest=outcome.failure is None,
    )
    outcome.calls = len(ledger)
    outcome.states = Counter(event.state for event in history.states)
    outcome.violations += violations


def _in_words(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "\n".join(_in_words(inner) for inner in error.exceptions)
    return f"{type(error).__name__}: {error}"
