"""How the checker's report is shown: violations with their records, and a table by promise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.table import Table
from rich.text import Text

from worker.verify.shown import fields_of, line_of
from worker.verify.violations import KINDS, PROMISES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from worker.oncall.verify_settling import Report
    from worker.verify.violations import Violation

_RESULTS: Final = {
    "kept": Text("kept", style="green"),
    "broken": Text("broken", style="bold red"),
    "not settled": Text("not settled", style="yellow"),
    "not checked": Text("not checked", style="yellow"),
}


def result_of(report: Report, promise: str) -> str:
    """Say whether a promise was kept; nothing checked, or not settled, is nothing proven."""
    if any(violation.promise == promise for violation in report.violations):
        return "broken"
    if any(suspect.promise == promise for suspect in report.unsettled):
        return "not settled"
    return "kept" if report.coverage.checked.get(promise) else "not checked"


def promises_table(report: Report) -> Table:
    """Return what was checked of each promise, what was not, and what came of it."""
    table = Table(title="Promises", title_justify="left", expand=False)
    for column in ("", "promise", "result", "checked", "not checked"):
        table.add_column(column, overflow="fold")
    for promise, sentence in PROMISES.items():
        result = result_of(report, promise)
        count = sum(violation.promise == promise for violation in report.violations)
        told = Text(f"broken: {count:,}", style="bold red") if count else _RESULTS[result]
        checked = _counted(report.coverage.checked.get(promise, {}))
        left = _counted(report.coverage.left_out.get(promise, {}))
        nothing = "nothing of it was read" if result == "not checked" else ""
        table.add_row(promise, Text(sentence), told, Text(checked), Text(left or nothing))
    return table


def kinds_table() -> Table:
    """Return the kinds of violations: their names are public, programs may look for them."""
    table = Table(title="Kinds of violations", title_justify="left", expand=False)
    for column in ("", "kind", "means"):
        table.add_column(column, overflow="fold")
    for name, kind in KINDS.items():
        table.add_row(kind.promise, name, Text(kind.means))
    return table


def violation_text(violation: Violation) -> Text:
    """Return a violation and the records that show it."""
    lines = [f"{violation.promise} {violation.kind}: {violation.what}"]
    lines += [f"    {line_of(record)}" for record in violation.shown_by]
    return Text("\n".join(lines))


def violation_line(violation: Violation) -> dict[str, object]:
    """Return a violation as data for JSON Lines."""
    return {
        "kind": violation.kind,
        "promise": violation.promise,
        "what": violation.what,
        "records": [fields_of(record) for record in violation.shown_by],
    }


def promise_lines(report: Report) -> Iterator[dict[str, object]]:
    """Yield what came of each promise as data for JSON Lines."""
    for promise in PROMISES:
        yield {
            "promise": promise,
            "result": result_of(report, promise),
            "violations": sum(violation.promise == promise for violation in report.violations),
            "checked": dict(report.coverage.checked.get(promise, {})),
            "notChecked": dict(report.coverage.left_out.get(promise, {})),
        }


def _counted(counts: Mapping[str, int]) -> str:
    return "\n".join(f"{count:,} {what}" if count else what for what, count in counts.items())
