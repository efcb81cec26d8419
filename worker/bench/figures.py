"""From measurements to figures: medians, ratios against their marks, and what went wrong. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import TYPE_CHECKING, Final

from worker.bench.errand import Contestant
from worker.bench.sampling import REST
from worker.bench.trials import Scene

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from worker.bench.errand import Report
    from worker.bench.trials import Trial


SYSTEM: Final = "system calls"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One run as it was."""

    trial: Trial
    report: Report
    unbound: int
    """Bindings that a ``read_committed`` reader finds unbound, the warm-up's too."""
    repeated: int
    transactions: int
    first_call_ms: tuple[int, ...] = ()
    """When idle: from each request record to the first call received."""

    @property
    def cpu_ms(self) -> float:
        """CPU per saga."""
        return self.report.cpu_s * 1000 / self.trial.sagas

    @property
    def per_s(self) -> float:
        """Sagas a second."""
        return self.trial.sagas / self.report.wall_s

    @property
    def wrong(self) -> str | None:
        """Say what is wrong with its result, if anything is."""
        expected = self.trial.warm_up + self.trial.sagas
        if self.unbound == expected and self.repeated == 0 and self.report.ended == self.trial.sagas:
            return None
        return (
            f"{self.trial.contestant.value} at {self.trial.scene.value}: of {expected} sagas {self.unbound} "
            f"ended unbound, {self.repeated} of them more than once; it counted {self.report.ended} "
            f"of {self.trial.sagas} itself"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One contestant in one scene: medians over the rounds."""

    scene: Scene
    contestant: Contestant
    rounds: int
    sagas: int
    in_flight: int
    cpu_ms: float
    cpu_ms_from: float
    cpu_ms_to: float
    per_s: float
    per_transaction: float | None
    """Sagas ended per committed transaction; ``None`` without a journal."""
    first_call_p50_ms: float | None
    first_call_p99_ms: float | None


class Verdict(StrEnum):
    """How a figure stands to its marks."""

    GOAL = "goal"
    MUST = "must"
    MISSED = "missed"
    UNKNOWN = "not measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What a figure must be, and should be."""

    name: str
    must: float
    goal: float
    lower: bool
    """Whether less is better."""
    unit: str = ""

    def judge(self, value: float | None) -> Verdict:
        """Say which mark a value reaches."""
        if value is None:
            return Verdict.UNKNOWN
        for verdict, mark in ((Verdict.GOAL, self.goal), (Verdict.MUST, self.must)):
            if value <= mark if self.lower else value >= mark:
                return verdict
        return Verdict.MISSED


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One figure, and how it stands."""

    mark: Mark
    value: float | None

    @property
    def verdict(self) -> Verdict:
        """How it stands."""
        return self.mark.judge(self.value)


_CPU_TO_FLOOR: Final = Mark(name="CPU per saga: ours ÷ floor", must=1.8, goal=1.3, lower=True)
_STOCK_TO_CPU: Final = Mark(
    name="CPU per saga: stock with httpx, 256 handlers ÷ ours", must=3, goal=4, lower=False
)
_UNSAFE_TO_CPU: Final = Mark(
    name="CPU per saga: best unsafe design (stock with aiohttp) ÷ ours", must=0.75, goal=1, lower=False
)
_RATE_TO_FLOOR: Final = Mark(
    name="sagas/s at 200 ms: ours ÷ floor loop, 256 in flight", must=0.6, goal=0.9, lower=False
)
_RATE_TO_SERIAL: Final = Mark(name="sagas/s at 200 ms: ours ÷ stock serial", must=100, goal=200, lower=False)
_FIRST_P50: Final = Mark(
    name="idle, request record to first call, p50", must=15, goal=8, lower=True, unit="ms"
)
_FIRST_P99: Final = Mark(
    name="idle, request record to first call, p99", must=50, goal=25, lower=True, unit="ms"
)


def rows(measured: Sequence[Measured]) -> list[Row]:
    """Return a row per scene and contestant, in the order of their lists; sampled runs are left out."""
    found = []
    for scene in Scene:
        for contestant in Contestant:
            runs = _runs(measured, scene, contestant)
            if runs:
                found.append(_row(scene, contestant, runs))
    return found


def standings(measured: Sequence[Measured]) -> list[Standing]:
    """Return the figures that have marks. A ratio is the median of the rounds' own ratios."""

    def ratio(mark: Mark, value: Callable[[Measured], float], *of: tuple[Scene, Contestant]) -> Standing:
        return Standing(mark=mark, value=_ratio(measured, value, of[0], of[1]))

    ours, slow = (Scene.FAST, Contestant.OURS), (Scene.SLOW, Contestant.OURS)
    waits = [ms for run in _runs(measured, Scene.IDLE, Contestant.OURS) for ms in run.first_call_ms]
    return [
        ratio(_CPU_TO_FLOOR, _cpu, ours, (Scene.FAST, Contestant.FLOOR)),
        ratio(_STOCK_TO_CPU, _cpu, (Scene.FAST, Contestant.STOCK_CONCURRENT), ours),
        ratio(_UNSAFE_TO_CPU, _cpu, (Scene.FAST, Contestant.STOCK_AIOHTTP), ours),
        ratio(_RATE_TO_FLOOR, _rate, slow, (Scene.SLOW, Contestant.FLOOR)),
        ratio(_RATE_TO_SERIAL, _rate, slow, (Scene.SLOW, Contestant.STOCK_SERIAL)),
        Standing(mark=_FIRST_P50, value=percentile(waits, 50)),
        Standing(mark=_FIRST_P99, value=percentile(waits, 99)),
    ]


def shares(run: Measured) -> dict[str, float]:
    """Return where the CPU of a sampled run went: area → share of its CPU time, largest first.

    System time is measured whole; the samples share the user time among the areas.
    """
    report = run.report
    samples = sum(report.areas.values())
    system = report.system_s / report.cpu_s
    user = {area: (1 - system) * count / samples for area, count in report.areas.items()}
    found = {SYSTEM: system} | (user or {REST: 1 - system})
    return dict(sorted(found.items(), key=lambda entry: entry[1], reverse=True))


def function_shares(run: Measured) -> dict[str, float]:
    """Return the functions that were found most often in a sampled run, each with its share of user time."""
    total = sum(run.report.areas.values())
    return {name: samples / total for name, samples in run.report.functions.items()}


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Return the smallest value that so many per cent of the values do not exceed; ``None`` for none."""
    if not values:
        return None
    rank = math.ceil(len(values) * percent / 100)
    return sorted(values)[max(rank, 1) - 1]


def _row(scene: Scene, contestant: Contestant, runs: Sequence[Measured]) -> Row:
    waits = [ms for run in runs for ms in run.first_call_ms]
    transactions = sum(run.transactions for run in runs)
    return Row(
        scene=scene,
        contestant=contestant,
        rounds=len(runs),
        sagas=runs[0].trial.sagas,
        in_flight=runs[0].trial.in_flight,
        cpu_ms=median(run.cpu_ms for run in runs),
        cpu_ms_from=min(run.cpu_ms for run in runs),
        cpu_ms_to=max(run.cpu_ms for run in runs),
        per_s=median(run.per_s for run in runs),
        per_transaction=sum(run.unbound for run in runs) / transactions if transactions else None,
        first_call_p50_ms=percentile(waits, 50),
        first_call_p99_ms=percentile(waits, 99),
    )


def _runs(measured: Sequence[Measured], scene: Scene, contestant: Contestant) -> list[Measured]:
    return [
        run
        for run in measured
        if run.trial.scene is scene and run.trial.contestant is contestant and not run.trial.sampled
    ]


def _ratio(
    measured: Sequence[Measured],
    value: Callable[[Measured], float],
    above: tuple[Scene, Contestant],
    below: tuple[Scene, Contestant],
) -> float | None:
    uppers = {run.trial.round: value(run) for run in _runs(measured, *above)}
    lowers = {run.trial.round: value(run) for run in _runs(measured, *below)}
    ratios = [uppers[number] / lowers[number] for number in uppers.keys() & lowers.keys()]
    return median(ratios) if ratios else None


def _cpu(run: Measured) -> float:
    return run.cpu_ms


def _rate(run: Measured) -> float:
    return run.per_s
