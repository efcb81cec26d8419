from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from contracts.states import State
from worker.saga import diagram
from worker.saga.table import FIRST, FLOW

if TYPE_CHECKING:
    from pathlib import Path

EDGE = re.compile(r"^    (\w+) -->(?:\|(.*)\|)? (\w+)$", re.MULTILINE)
BOX = re.compile(r'^    (\w+)[\[(]+"(.*)"[\])]+$', re.MULTILINE)


def test_page_is_as_the_code_draws_it() -> None:
    """docs/saga.md shows what the tables say: run `python -m worker.saga.diagram` if it does not."""
    assert diagram.main(["--check"]) == 0


def test_diagram_says_what_flow_says() -> None:
    """Read back, the drawn edges are FLOW and FIRST, no more and no less."""
    drawn = diagram.states()
    members = {name: text.split("<br/>") for name, text in BOX.findall(drawn)}
    edges = set()
    for source, label, target in EDGE.findall(drawn):
        targets = label.split(", ") if label else members[target]
        edges |= {(one, other) for one in members.get(source, ["start"]) for other in targets}
    wanted = {(str(state), str(after)) for state, many in FLOW.items() for after in many}
    assert edges == wanted | {("start", str(state)) for state in FIRST}
    assert sorted(state for many in members.values() for state in many) == sorted(map(str, State))


def test_stale_page_is_found_and_drawn_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A page that the code draws otherwise fails the check, says what to run, and is mended by it."""
    page = tmp_path / "saga.md"
    page.write_text(
        diagram.PAGE.read_text("utf-8").replace("| wait | wait |", "| wait | hope |"), encoding="utf-8"
    )
    assert diagram.main(["--check", "--page", str(page)]) == 1
    assert "run python -m worker.saga.diagram" in capsys.readouterr().out
    assert "hope" in page.read_text("utf-8")
    assert diagram.main(["--page", str(page)]) == 0
    assert page.read_text("utf-8") == diagram.PAGE.read_text("utf-8")


def test_page_without_marks_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A page that lost its marks is left alone, and the message names them."""
    page = tmp_path / "saga.md"
    page.write_text("# The saga\n", encoding="utf-8")
    assert diagram.main(["--page", str(page)]) == 1
    assert "<!-- drawn: states -->" in capsys.readouterr().err
    assert diagram.main(["--page", str(tmp_path / "none.md")]) == 1
    with pytest.raises(diagram.PageUnusable):
        diagram.drawn("", diagram.PARTS)
