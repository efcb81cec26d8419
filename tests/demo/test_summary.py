"""The end of the demo as people and programs see it."""

from dataclasses import replace
from io import StringIO

from rich.console import Console

from tests.demo.right_history import PLAN, right_history
from worker.oncall.demo.summary import Report, closing_lines, report_lines, summary_table
from worker.oncall.demo.verdict import judge

BEGAN_AT = 1_800_000_000_000


def _report(*, gave_up: str | None = None, right: bool = True) -> Report:
    history = right_history()
    if not right:
        history = replace(history, leaks=("unbinding.journal/0/3",))
    return Report(
        rows=judge(PLAN, history),
        kill=history.kill,
        going=6,
        gave_up=gave_up,
        began_at=BEGAN_AT,
        took_ms=21_400,
    )


def _shown(report: Report) -> str:
    page = StringIO()
    Console(file=page, width=200).print(summary_table(report.rows))
    return page.getvalue()


def test_all_right_is_said_in_one_line() -> None:
    """The last line counts the rows and gives the time; the one before tells of the kill."""
    assert list(closing_lines(_report())) == [
        "worker killed with SIGKILL at 10.0 s, back at 12.0 s: 6 calls were cut off, 6 sagas went on",
        f"{len(PLAN) + 3} of {len(PLAN) + 3} right in 21.4 s: all right",
    ]


def test_what_is_wrong_is_told_with_its_place() -> None:
    """A cross says what was expected, what was found, and where to look."""
    lines = list(closing_lines(_report(right=False)))
    assert lines[0] == (
        "✗ tokens at rest: expected no token that can be read; found one; look in unbinding.journal/0/3"
    )
    assert lines[-1].endswith(": 1 wrong")


def test_giving_up_is_never_right() -> None:
    """A demo that gave up waiting is not right, even if nothing else is wrong."""
    report = _report(gave_up="waited 30 s for the dead letters")
    assert not report.right
    assert "✗ the demo gave up: waited 30 s for the dead letters" in closing_lines(report)


def test_the_table_has_a_row_for_each_case() -> None:
    """Each case has its row, with a tick or a cross."""
    shown = _shown(_report(right=False))
    assert all(case.shows in shown for case in PLAN)
    assert shown.count("✓") == len(PLAN) + 2
    assert shown.count("✗") == 1


def test_programs_get_the_same() -> None:
    """The data has a line for each row, then the sum."""
    *rows, total = report_lines(_report(right=False))
    assert len(rows) == len(PLAN) + 3
    assert [row["right"] for row in rows].count(False) == total["wrong"] == 1
    assert total["killedMs"] == 10_000
    assert total["backMs"] == 12_000
    assert total["callsCutOff"] == total["sagasThatWentOn"] == 6
