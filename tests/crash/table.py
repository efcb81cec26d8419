"""Draws the crash matrix for docs/proof.md; to look at it: `python -m tests.crash.table`."""

from __future__ import annotations

import ast
import inspect
import sys
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from tests.crash.matrix import AFTERWARDS, MATRIX, Killed, Row
from tests.crash.wire import WireMoment
from worker.crash_points import CrashPoint
from worker.saga.diagram import table

if TYPE_CHECKING:
    from enum import StrEnum

_STEPS: Final = {"consult": "consult", "cancel_token": "cancelToken"}
_POINTS: Final = (*CrashPoint, *WireMoment)
_ON_KAFKA: Final = "test_points_on_kafka"
_OTHERS: Final = (
    (
        "not killed but stopped (SIGSTOP), and the partition moved",
        "calls in flight may overlap; none begins after waking without a lease; no event of its appears",
        "faults/test_single_faults",
    ),
    (
        "`unbinding letters replay` or `discard`, at each moment of publishing, and run again",
        "applied once; the second order is refused",
        "crash/test_oncall_killed",
    ),
    (
        "one successor after the other, as it restores, opens and calls",
        "only the calls that they made are repeated",
        f"crash/{_ON_KAFKA}",
    ),
    (
        "while a saga waits for its timer",
        "the next call comes at the time that was told, neither before nor anew",
        f"crash/{_ON_KAFKA}",
    ),
)


@cache
def sentences(points: type[StrEnum]) -> dict[str, str]:
    """Return what each member says of itself, by its value: the string that stands below it."""
    (definition,) = ast.parse(inspect.getsource(points)).body
    if not isinstance(definition, ast.ClassDef):
        raise TypeError(f"{points} is not defined by a class statement")
    found: dict[str, str] = {}
    body = definition.body
    for member, text in pairwise(body):
        match member, text:
            case ast.Assign(value=ast.Constant(value=str(name))), ast.Expr(
                value=ast.Constant(value=str(words))
            ):
                found[name] = words
    return found


def crashes() -> str:
    """Draw a table for each row of the crash matrix, and one for what else is killed."""
    return "\n" + "".join([*(_killed(killed) for killed in Killed), _others()])


def _killed(killed: Killed) -> str:
    rows: list[list[str]] = []
    said: set[str] = set()
    for row in sorted((row for row in MATRIX if row.killed is killed), key=_order):
        under = row.load + (f": {row.doing}" if row.doing else "")
        rows.append([_point(row, short=row.point in said), under, _calls(row)])
        said.add(row.point)
    drawn = table(["killed at", "under", "calls in the end"], rows)
    return f"**Killed {killed}**: {AFTERWARDS[killed]}.\n{drawn}"


def _others() -> str:
    rows = [[what, after, f"[{path.split('/')[-1]}](../tests/{path}.py)"] for what, after, path in _OTHERS]
    drawn = table(["killed", "afterwards", "by"], rows)
    return f"**More kills**\n{drawn}"


def _order(row: Row) -> int:
    """Put the rows of one point together; what is heard on the wire comes last."""
    return _POINTS.index(row.point)


def _point(row: Row, *, short: bool) -> str:
    where = " of another partition" if row.elsewhere else ""
    if short:
        return f"`{row.point}`{where}"
    sentence = sentences(type(row.point))[row.point].removesuffix(".")
    return f"`{row.point}`{where}: {sentence}"


def _calls(row: Row) -> str:
    counts = {name: row.calls.count(step) for step, name in _STEPS.items()}
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "none"


if __name__ == "__main__":
    sys.stdout.write(crashes())
