"""The end of the demo as people and programs see it: a row per request, and what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from worker.oncall.demo.history import Kill
    from worker.oncall.demo.verdict import Row

_PROBLEMS_SHOWN: Final = 2
"""Of one row: what follows is mostly a consequence."""


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


def wrong_lines(rows: Sequence[Row]) -> Iterator[str]:
    """Yield what is wrong: what was expected, what was found, where to look."""
    for row in rows:
        for problem in row.problems[:_PROBLEMS_SHOWN]:
            yield f"✗ {row.shows}: {problem}"
        if len(row.problems) > _PROBLEMS_SHOWN:
            yield f"✗ {row.shows}: and {len(row.problems) - _PROBLEMS_SHOWN} more; --json tells all"


def kill_line(kill: Kill, *, going: int, began_at: int) -> str:
    """Return the story of the kill; moments in ms since the epoch."""
    return (
        f"worker killed with SIGKILL at {_seconds(kill.killed_at - began_at)} with {kill.in_flight} calls in "
        f"flight, back at {_seconds(kill.back_at - began_at)}; {going} sagas went on"
    )


def count_line(rows: Sequence[Row], *, took_ms: int) -> str:
    """Return the last line: how many are right, and how long it took."""
    right = sum(1 for row in rows if row.right)
    told = "all right" if right == len(rows) else f"{len(rows) - right} wrong"
    return f"{right} of {len(rows)} right in {_seconds(took_ms)}: {told}"


def summary_lines(
    rows: Sequence[Row], kill: Kill | None, *, began_at: int, took_ms: int
) -> Iterator[dict[str, object]]:
    """Yield the same as data for JSON Lines; the last one is the sum."""
    for row in rows:
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
    yield {
        "kind": "summary",
        "right": sum(1 for row in rows if row.right),
        "wrong": sum(1 for row in rows if not row.right),
        "tookMs": took_ms,
        "killedMs": None if kill is None else kill.killed_at - began_at,
        "backMs": None if kill is None else kill.back_at - began_at,
    }


def _seconds(duration_ms: int) -> str:
    return f"{duration_ms / 1000:.1f} s"
