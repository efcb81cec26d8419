"""Draws the crash matrix for the documents: `python -m tests.crash.table`."""

from __future__ import annotations

import ast
import inspect
import sys
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from tests.crash.matrix import AFTERWARDS, MATRIX, Row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from enum import StrEnum

_STEPS: Final = {"consult": "consult", "cancel_token": "cancelToken"}
_MORE: Final = (
    (
        "not killed but stopped (SIGSTOP), and the partition moved",
        "calls in flight may overlap; none begins after waking without a lease; no event of its appears",
        "`tests/faults/test_single_faults.py`",
    ),
    (
        "`unbinding letters replay` or `discard`, at each moment of publishing, and run again",
        "applied once; the second order is refused",
        "`tests/crash/test_oncall_killed.py`",
    ),
    (
        "one successor after the other, as it restores, opens and calls",
        "only the calls that they made are repeated",
        "`test_a_crash_loop_is_as_safe_as_one_crash`",
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


def table() -> Iterator[str]:
    """Yield the lines of the table, in Markdown."""
    yield "| killed at | under | row of the crash matrix | after restart |"
    yield "|---|---|---|---|"
    for row in sorted(MATRIX, key=_order):
        sentence = sentences(type(row.point))[row.point].removesuffix(".")
        doing = f": {row.doing}" if row.doing else ""
        where = ", of another partition" if row.elsewhere else ""
        yield (
            f"| `{row.point}`{where}: {sentence} | {row.load}{doing} | "
            f"{row.killed} | {AFTERWARDS[row.killed]}. Calls in the end: {_calls(row)} |"
        )
    for what, after, where in _MORE:
        yield f"| {what} | {where} | | {after} |"


def _order(row: Row) -> tuple[int, int]:
    """Put what is heard on the wire where it happens."""
    return list(AFTERWARDS).index(row.killed), list(MATRIX).index(row)


def _calls(row: Row) -> str:
    counts = {name: row.calls.count(step) for step, name in _STEPS.items()}
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "none"


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in table())
