"""Where a shard can be killed: the lines at which its code awaits, and at which of them a kill found it."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import worker.shard

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Iterator

ROOM = Path(worker.shard.__file__).parent

Point = tuple[str, int]
"""A file of the room `worker/shard`, and the line on which an await begins."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One await of the room."""

    says: str
    """Its text, and the function that it stands in."""
    lines: range


@cache
def awaits() -> dict[Point, Waiting]:
    """Return each await of the room; `async with` stands there for time-outs only, which never suspend."""
    found: dict[Point, Waiting] = {}
    for path in sorted(ROOM.glob("*.py")):
        text = path.read_text()
        for function in ast.walk(ast.parse(text)):
            if isinstance(function, ast.AsyncFunctionDef):
                for node in _awaits_of(function):
                    what = node.iter if isinstance(node, ast.AsyncFor) else node
                    says = f"{ast.get_source_segment(text, what)}  # {function.name}"
                    lines = range(node.lineno, (what.end_lineno or node.lineno) + 1)
                    found[path.name, node.lineno] = Waiting(says, lines)
    return found


def points(tasks: Iterable[asyncio.Task[Any]]) -> set[Point]:
    """Return the awaits of the room at which these tasks are suspended, outermost to innermost."""
    return {point for task in tasks for frame in _frames(task) if (point := _await_at(*frame)) is not None}


def _awaits_of(function: ast.AsyncFunctionDef) -> Iterator[ast.Await | ast.AsyncFor]:
    for node in ast.walk(function):
        if isinstance(node, ast.Await | ast.AsyncFor):
            yield node


def _frames(task: asyncio.Task[Any]) -> Iterator[Point]:
    inner: Any = task.get_coro()
    while inner is not None:
        frame = getattr(inner, "cr_frame", None) or getattr(inner, "ag_frame", None)
        if frame is not None and frame.f_code.co_filename.startswith(str(ROOM)):
            yield Path(frame.f_code.co_filename).name, frame.f_lineno
        inner = getattr(inner, "cr_await", None) or getattr(inner, "ag_await", None)


@cache
def _await_at(name: str, line: int) -> Point | None:
    inside = [point for point, wait in awaits().items() if point[0] == name and line in wait.lines]
    return max(inside, default=None)
