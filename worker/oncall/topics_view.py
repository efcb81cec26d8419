"""How findings about topics are shown."""

from collections.abc import Iterator, Sequence
from typing import Final

from rich.table import Table
from rich.text import Text

from worker.kafka.topics import Finding, Remedy

_REMEDIES: Final = {
    Remedy.CREATE: "`topics apply` creates it",
    Remedy.CONFIGURE: "`topics apply` sets it",
    Remedy.BY_HAND: "by hand",
}


def findings_table(findings: Sequence[Finding], *, title: str) -> Table:
    """Return what is wrong with the topics, and what to do."""
    table = Table(title=title, title_justify="left", expand=False)
    for column in ("", "topic", "what is wrong", "what to do", "who does it"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        table.add_row(
            Text("error", style="bold red") if finding.serious else Text("warning", style="yellow"),
            Text(finding.name),
            Text(finding.what),
            Text(finding.to_do),
            Text(_REMEDIES[finding.remedy]),
        )
    return table


def finding_lines(findings: Sequence[Finding]) -> Iterator[dict[str, object]]:
    """Yield the findings as data for JSON Lines."""
    for finding in findings:
        yield {
            "severity": "error" if finding.serious else "warning",
            "topic": finding.name,
            "what": finding.what,
            "remedy": finding.to_do,
            "kind": finding.remedy.value,
        }
