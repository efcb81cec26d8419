"""How a benchmark is shown: tables for people, JSON Lines for programs."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table

from worker.bench.errand import STOCK_HANDLERS, Contestant
from worker.bench.figures import Verdict
from worker.bench.trials import Scene

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from worker.bench.figures import Measured, Row, Standing

_PACKAGES: Final = (
    "aiokafka",
    "aiohttp",
    "cryptography",
    "faststream",
    "httpx",
    "tenacity",
    "uvloop",
)
_TOLD: Final = {
    Contestant.FLOOR: "floor: a bare loop, no promise",
    Contestant.OURS: "ours: the worker, all promises",
    Contestant.STOCK_SERIAL: "stock, serial: FastStream, httpx, tenacity",
    Contestant.STOCK_CONCURRENT: f"stock, {STOCK_HANDLERS} handlers",
    Contestant.STOCK_AIOHTTP: f"stock, {STOCK_HANDLERS} handlers, aiohttp: best unsafe design",
}
_FUNCTIONS_SHOWN: Final = 25


def setting(*, kafka: str, partitions: int, rounds: int) -> dict[str, object]:
    """Say what the figures were taken on."""
    return {
        "kafka": kafka,
        "partitions": partitions,
        "rounds": rounds,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "versions": {package: version(package) for package in _PACKAGES},
    }


def setting_text(facts: Mapping[str, Any]) -> str:
    """Write ``setting`` as lines."""
    versions = ", ".join(f"{package} {number}" for package, number in facts["versions"].items())
    return (
        f"Kafka: {facts['kafka']}, {facts['partitions']} partitions; {facts['rounds']} rounds, medians; "
        f"{facts['cores']} cores ({facts['machine']})\nPython {facts['python']}, {versions}\n"
        "Kafka, the payment side and the others on this machine share its cores: "
        "CPU seconds and ratios say more than sagas/s."
    )


def progress_line(measured: Measured) -> str:
    """Write one run as it ended."""
    trial = measured.trial
    told = f"{trial.scene.value:>6}  {trial.contestant.value:17} {trial.sagas:5} sagas"
    return f"{told}  {measured.cpu_ms:7.3f} ms CPU each  {measured.per_s:7.1f}/s" + (
        "  (sampled)" if trial.sampled else ""
    )


def rows_table(rows: Sequence[Row]) -> Table:
    """Show the figures of all contestants."""
    table = Table(title="Two signed calls per saga", title_justify="left")
    table.add_column("hub latency")
    table.add_column("who")
    for name in (
        "sagas",
        "at once",
        "CPU ms/saga",
        "from … to",
        "sagas/s",
        "sagas/transaction",
        "first call p50 / p99",
    ):
        table.add_column(name, justify="right")
    before = None
    for row in rows:
        if before is not None and row.scene is not before:
            table.add_section()
        table.add_row(
            row.scene.value if row.scene is not before else "",
            _TOLD[row.contestant],
            f"{row.rounds} x {row.sagas}",
            at_once(row),
            f"{row.cpu_ms:.3f}",
            f"{row.cpu_ms_from:.3f} … {row.cpu_ms_to:.3f}",
            "" if row.scene is Scene.IDLE else f"{row.per_s:.1f}",
            "" if row.per_transaction is None else f"{row.per_transaction:.1f}",
            _first_call(row),
        )
        before = row.scene
    return table


def at_once(row: Row) -> str:
    """Say how many sagas or calls a contestant has under way at once."""
    match row.contestant:
        case Contestant.STOCK_SERIAL:
            return "1"
        case Contestant.STOCK_CONCURRENT | Contestant.STOCK_AIOHTTP:
            return str(STOCK_HANDLERS)
        case Contestant.FLOOR | Contestant.OURS:
            return str(row.in_flight)


def standings_table(standings: Iterable[Standing]) -> Table:
    """Show the figures that have marks."""
    table = Table(title="Against the marks", title_justify="left")
    table.add_column("figure")
    for name in ("is", "must", "goal"):
        table.add_column(name, justify="right")
    table.add_column("so")
    for standing in standings:
        mark = standing.mark
        sign = "≤" if mark.lower else "≥"
        unit = f" {mark.unit}" if mark.unit else ""
        table.add_row(
            mark.name,
            "" if standing.value is None else f"{standing.value:.2f}{unit}",
            f"{sign} {mark.must:g}{unit}",
            f"{sign} {mark.goal:g}{unit}",
            _SO[standing.verdict],
        )
    return table


def shares_table(shares: Mapping[str, float], *, cpu_ms: float) -> Table:
    """Show where our CPU goes."""
    table = Table(title=f"Where our CPU goes ({cpu_ms:.3f} ms per saga, sampled)", title_justify="left")
    table.add_column("area")
    table.add_column("share", justify="right")
    table.add_column("ms/saga", justify="right")
    for area, share in shares.items():
        table.add_row(area, f"{share:.1%}", f"{share * cpu_ms:.3f}")
    return table


def functions_table(functions: Mapping[str, float]) -> Table:
    """Show the functions that were found most often, with what they call outside of all areas."""
    table = Table(title="Functions", title_justify="left")
    table.add_column("function")
    table.add_column("share", justify="right")
    for name, share in list(functions.items())[:_FUNCTIONS_SHOWN]:
        table.add_row(name, f"{share:.1%}")
    return table


def json_lines(
    *,
    facts: Mapping[str, object],
    rows: Iterable[Row],
    standings: Iterable[Standing],
    shares: Mapping[str, float],
    wrong: Sequence[str],
) -> Iterator[dict[str, object]]:
    """Return everything as JSON objects, each with its ``kind``."""
    yield {"kind": "setting", **facts}
    for row in rows:
        yield {"kind": "row", **asdict(row)}
    for standing in standings:
        yield {
            "kind": "figure",
            "name": standing.mark.name,
            "value": standing.value,
            "must": standing.mark.must,
            "goal": standing.mark.goal,
            "lower_is_better": standing.mark.lower,
            "verdict": standing.verdict.value,
        }
    for area, share in shares.items():
        yield {"kind": "share", "area": area, "share": share}
    for problem in wrong:
        yield {"kind": "wrong", "what": problem}


_SO: Final = {
    Verdict.GOAL: "goal reached",
    Verdict.MUST: "reached",
    Verdict.MISSED: "MISSED",
    Verdict.UNKNOWN: "not measured",
}


def _first_call(row: Row) -> str:
    if row.first_call_p50_ms is None or row.first_call_p99_ms is None:
        return ""
    return f"{row.first_call_p50_ms:.0f} / {row.first_call_p99_ms:.0f} ms"
