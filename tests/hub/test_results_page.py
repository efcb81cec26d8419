from __future__ import annotations

import re
from typing import TYPE_CHECKING

from worker.hub import results_page
from worker.hub.catalogue import EVERY_API

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

ROW = re.compile(r"^\| `(\w+)` \| ([SFU]) \| `(\w+)`(?:; after doubt `(\w+)`)? \| (.+) \|$", re.MULTILINE)


def test_page_is_as_the_code_draws_it() -> None:
    """docs/results.md shows what the tables say: run `python -m worker.hub.results_page` if it does not."""
    assert results_page.main(["--check"]) == 0


def test_page_says_what_the_tables_say() -> None:
    """Read back, the page has each API with exactly its rows."""
    _, *parts = results_page.codes().split("### ")
    assert [part.partition("\n")[0] for part in parts] == [api.name for api in EVERY_API]
    for part, api in zip(parts, EVERY_API, strict=True):
        wanted = [
            (row.code, row.outcome[0], row.result_class.value, row.after_undecided or "", row.meaning)
            for row in api.table.values()
        ]
        assert ROW.findall(part) == wanted


def test_every_api_is_in_a_profile() -> None:
    """The table of APIs has no empty cell."""
    rows = results_page.apis().strip().splitlines()[2:]
    assert len(rows) == len(EVERY_API)
    assert all("|  |" not in row for row in rows)


def test_stale_page_is_found_and_drawn_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A page that the code draws otherwise fails the check, says what to run, and is mended by it."""
    page = tmp_path / "results.md"
    good = results_page.PAGE.read_text("utf-8")
    page.write_text(
        good.replace("| `PROCESS_FAIL` | F | `final` |", "| `PROCESS_FAIL` | F | `soon` |"), "utf-8"
    )
    assert results_page.main(["--check", "--page", str(page)]) == 1
    assert "run python -m worker.hub.results_page" in capsys.readouterr().out
    assert results_page.main(["--page", str(page)]) == 0
    assert page.read_text("utf-8") == good
