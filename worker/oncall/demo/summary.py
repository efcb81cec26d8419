"""The end of the demo as people and programs see it: a row per request, and what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from worker.oncall.demo.history import Kill
    from worker.oncall.demo.verdict import Row

_PROBLEMS_SHOWN: Final = 2
"""Of one row: what follows is mostly a consequence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The judgement, and what frames it."""

    rows: Sequence[Row]
    kill: Kill | None
    going: int
    """Sagas that went on after the kill."""
    gave_up: str | None
    """What was waited for in vain."""
    began_at: int
    """In ms since the Unix epoch."""
    took_ms: int

    @property
    def right(self) -> bool:
        """Tell whether everything is as it had to be."""
        return self.gave_up is None and not self.wrong

    @property
    def wrong(self) -> int:
        """How many rows are not as they had to be."""
        return sum(1 for row in self.rows if not row.right)


def summary_table(rows: Sequence[Row]) -> Table:
    """Return what had to happen beside what happened."""
    table = Table(title="What had to happen, and what happened", title_justify="left", expand=False)
    table.add_column("request", overflow="fold")
    table.add_column("had to happen", overflow="fold")
    table.add_column("happened", overflow="fold")
    table.add_column("", justify="center")
    for row in rows:
        mark = Text("✓", style="green") if row.right else Text("✗", style="bold red")
        table.add_row(Text(row.shows), Text(row.expected), Text(row.found), mark)
    return table


def closing_lines(report: Report) -> Iterator[str]:
    """Yield what is wrong (what was expected, what was found, where to look), then the kill, then the sum."""
    for row in report.rows:
        for problem in row.problems[:_PROBLEMS_SHOWN]:
            yield f"✗ {row.shows}: {problem}"
        if len(row.problems) > _PROBLEMS_SHOWN:
            yield f"✗ {row.shows}: and {len(row.problems) - _PROBLEMS_SHOWN} more; --json tells all"
    if report.gave_up is not None:
        yield f"✗ the demo gave up: {report.gave_up}"
    kill = report.kill
    if kill is not None:
        yield (
            f"worker killed with SIGKILL at {_seconds(kill.killed_at - report.began_at)}, back at "
            f"{_seconds(kill.back_at - report.began_at)}: {kill.in_flight} calls were cut off, "
            f"{report.going} sagas went on"
        )
    count = len(report.rows)
    told = "all right" if report.right else f"{report.wrong} wrong"
    yield f"{count - report.wrong} of {count} right in {_seconds(report.took_ms)}: {told}"


def report_lines(report: Report) -> Iterator[dict[str, object]]:
    """Yield the same as data for JSON Lines; the last one is the sum."""
    for row in report.rows:
        yield {
            "kind": "judgement",
            "shows": row.shows,
            "expected": row.expected,
            "found": row.found,
            "right": row.right,
            "problems": [
                {"expected": problem.expected, "found": problem.found, "where": problem.where}
                for problem in row.problems
            ],
        }
    kill = report.kill
    yield {
        "kind": "summary",
        "right": len(report.rows) - report.wrong,
        "wrong": report.wrong,
        "gaveUp": report.gave_up,
        "tookMs": report.took_ms,
        "killedMs": None if kill is None else kill.killed_at - report.began_at,
        "backMs": None if kill is None else kill.back_at - report.began_at,
        "callsCutOff": None if kill is None else kill.in_flight,
        "sagasThatWentOn": report.going,
    }


def _seconds(duration_ms: int) -> str:
    return f"{duration_ms / 1000:.1f} s"
