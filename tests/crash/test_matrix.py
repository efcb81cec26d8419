"""The crash matrix is whole: every point has a row and a sentence, every row of the documents has points."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.crash.doomed_oncall import OnCallMoment
from tests.crash.matrix import MATRIX, ON_CALL, TOLD, Killed, Load
from tests.crash.table import crashes, sentences
from tests.crash.test_oncall_killed import BEFORE_A_WORKER
from tests.crash.wire import WireMoment
from worker import wiring
from worker.crash_points import CrashPoint, pass_all_by, pass_by

if TYPE_CHECKING:
    from enum import StrEnum

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "architecture.md"


def test_every_point_has_a_row() -> None:
    """A worker dies at each point of the closed list, and at each moment on the wire."""
    assert {row.point for row in MATRIX} == {*CrashPoint, *WireMoment} - ON_CALL


def test_every_point_is_passed_in_one_place() -> None:
    """The code names each point once: a point is a place, and none has been forgotten or copied."""
    named = [
        point
        for file in (ROOT / "worker").rglob("*.py")
        for point in re.findall(r"passing\(CrashPoint\.([A-Z_]+)\)", file.read_text(encoding="utf-8"))
    ]
    assert sorted(named) == sorted(point.name for point in CrashPoint)


def test_the_command_line_dies_at_every_moment() -> None:
    """What is no worker's moment is the command line's."""
    moments = {moment for _, moment in BEFORE_A_WORKER} | {OnCallMoment.JUDGED}
    assert moments >= {*OnCallMoment, *ON_CALL}


@pytest.mark.parametrize("points", [CrashPoint, WireMoment, OnCallMoment])
def test_every_point_says_what_it_lies_between(points: type[StrEnum]) -> None:
    """Each member has its sentence: what has happened, and what has not."""
    assert set(sentences(points)) == {point.value for point in points}
    for sentence in sentences(points).values():
        assert sentence.endswith(".")
        assert len(sentence.split()) > 5


def test_every_row_of_the_document_is_tried() -> None:
    """The rows of the crash matrix in the documents are those under which workers die here."""
    text = DOCUMENT.read_text(encoding="utf-8")
    written = [killed for killed in Killed if f"| {killed} |" in text]
    assert set(written) == set(Killed) - {Killed.OPENING, Killed.ENDING}
    assert {row.killed for row in MATRIX} == set(Killed)


def test_every_load_is_used_and_has_its_events() -> None:
    """No load is idle, and what is told in its end is written down."""
    assert {row.load for row in MATRIX} == set(Load) == set(TOLD)


def test_rows_have_names_of_their_own() -> None:
    """Two rows never share a name, and the page has a line for each."""
    names = [row.name for row in MATRIX]
    assert len(set(names)) == len(names)
    assert sum(line.startswith("| `") for line in crashes().splitlines()) >= len(names)


def test_a_worker_as_shipped_passes_by() -> None:
    """Whoever gives nothing else gets a function that does nothing; no setting is asked."""
    assert inspect.signature(wiring.run).parameters["passing_in"].default is pass_all_by
    assert pass_all_by(3) is pass_by
