"""What people and programs see while the demo runs: a live table, plain lines, or JSON Lines."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from contracts.states import State
from worker.oncall.demo.verdict import course_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import RenderableType

    from worker.oncall.demo.board import Board, Progress
    from worker.oncall.terminal import Terminal

_STORY_LINES: Final = 5
_FRAME_LINES: Final = 4
_REFRESH_PER_S: Final = 8
_STYLES: Final = {
    State.UNBOUND: "green",
    State.REFUSED: "cyan",
    State.LAPSED: "cyan",
    State.DISCARDED: "cyan",
    State.PARKED: "red",
    State.WAITING: "yellow",
}


class View(Protocol):
    """Hears what happens."""

    def tell(self, text: str) -> None:
        """Show one sentence of the story."""
        ...

    def changed(self, progress: Progress) -> None:
        """Show that a case has come further."""
        ...


class LinesView:
    """Plain lines, for pipes and low terminals: one a change."""

    def __init__(self, terminal: Terminal, *, elapsed: Callable[[], int]) -> None:
        self._terminal = terminal
        self._elapsed = elapsed

    def tell(self, text: str) -> None:
        """Print one sentence."""
        self._terminal.line(f"{self._elapsed() / 1000:5.1f} s  {text}")

    def changed(self, progress: Progress) -> None:
        """Print where the case stands now."""
        self.tell(f"{progress.case.name:<14} {standing(progress)}")


class JsonView:
    """JSON Lines: one object a change."""

    def __init__(self, terminal: Terminal, *, elapsed: Callable[[], int]) -> None:
        self._terminal = terminal
        self._elapsed = elapsed

    def tell(self, text: str) -> None:
        """Print one sentence as data."""
        self._terminal.data({"kind": "story", "elapsedMs": self._elapsed(), "text": text})

    def changed(self, progress: Progress) -> None:
        """Print where the case stands now as data."""
        self._terminal.data(
            {
                "kind": "progress",
                "elapsedMs": self._elapsed(),
                "case": progress.case.name,
                "bindingId": progress.case.binding_id,
                "states": [seen.event.state for seen in progress.states],
                "openLetter": _letter_reason(progress),
                "verdicts": [verdict.ruling for verdict in progress.verdicts],
            }
        )


class LiveView:
    """A table that grows while one looks, and the last sentences of the story below it."""

    def __init__(self, board: Board, *, elapsed: Callable[[], int]) -> None:
        self._board = board
        self._elapsed = elapsed
        self._story: list[str] = []

    def tell(self, text: str) -> None:
        """Show one more sentence; the oldest gives way."""
        self._story = [*self._story, f"{self._elapsed() / 1000:5.1f} s  {text}"][-_STORY_LINES:]

    def changed(self, progress: Progress) -> None:
        """Do nothing: the table is drawn anew several times a second."""

    def __rich__(self) -> RenderableType:
        table = Table(box=None, pad_edge=False, expand=True)
        table.add_column("request", no_wrap=True)
        table.add_column("states", ratio=1, no_wrap=True, overflow="ellipsis")
        table.add_column("next attempt", justify="right", no_wrap=True)
        now_at = time.time_ns() // 1_000_000
        for progress in self._board:
            at = progress.next_attempt_at
            last = progress.states[-1].event.state if progress.states else None
            table.add_row(
                Text(progress.case.shows),
                Text(standing(progress), style=_STYLES.get(last, "") if last is not None else ""),
                "" if at is None else f"in {max(0, at - now_at) / 1000:.1f} s",
            )
        return Group(table, Text(), *map(Text, self._story))


@contextmanager
def open_view(terminal: Terminal, board: Board, *, json: bool, elapsed: Callable[[], int]) -> Iterator[View]:
    """Give the view that fits: JSON Lines if asked for, a live table where there is room, else lines."""
    rows = sum(1 for _ in board) + _STORY_LINES + _FRAME_LINES
    if json:
        yield JsonView(terminal, elapsed=elapsed)
    elif terminal.out.is_terminal and terminal.out.height >= rows:
        view = LiveView(board, elapsed=elapsed)
        with Live(view, console=terminal.out, refresh_per_second=_REFRESH_PER_S):
            yield view
    else:
        yield LinesView(terminal, elapsed=elapsed)


def standing(progress: Progress) -> str:
    """Return the states so far, the open letter and the verdicts in one line."""
    parts = [course_text(seen.event.state for seen in progress.states)]
    reason = _letter_reason(progress)
    if reason is not None:
        parts.append(f"[letter: {reason}]")
    parts += [f"[{verdict.command} {verdict.ruling}]" for verdict in progress.verdicts]
    return " ".join(filter(None, parts))


def _letter_reason(progress: Progress) -> str | None:
    if progress.letter is None:
        return None
    headers = progress.letter.headers
    return "unreadable headers" if headers is None else headers.reason.value
