"""Where people's output goes: results to standard output, all else to standard error."""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.segment import Segment
from typing_extensions import override

from worker.oncall.errors import Refused
from worker.oncall.harmless import harmless, harmless_json

_PIPED_WIDTH: Final = 160
_NARROWEST: Final = 20
_YES: Final = frozenset({"y", "yes"})


class Ask(Protocol):
    """Asks a person a question and returns the answer."""

    def __call__(self, question: str) -> str:
        """Return the answer; raise `EOFError` where there is none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """Standard output for data, standard error for messages, and perhaps a person to ask."""

    out: Console
    err: Console
    ask: Ask | None
    """`None` where nobody can be asked."""

    def show(self, renderable: RenderableType) -> None:
        """Print a result for people."""
        self.out.print(renderable)

    def show_line(self, line: RenderableType) -> None:
        """Print one line for people; where it is longer than the terminal, that wraps it."""
        self.out.print(line, soft_wrap=True)

    def data(self, fields: Mapping[str, object]) -> None:
        """Print one JSON line."""
        self.line(json.dumps(fields, ensure_ascii=not self.out.encoding.startswith("utf")))

    def line(self, text: str) -> None:
        """Print JSON or text of ours as it is, not wrapped, and at once: a pipe may wait for it."""
        self.out.file.write(harmless_json(text) + "\n")
        self.out.file.flush()

    def say(self, message: RenderableType) -> None:
        """Print a message that is no result."""
        self.err.print(message)

    def agree(self, question: str, *, yes: bool) -> None:
        """Return if a person agrees, or has agreed by `--yes`. Raises `Refused`."""
        if yes:
            return
        if self.ask is None:
            raise Refused("nothing was changed: nobody can be asked here; look at the plan, then add --yes")
        try:
            answer = self.ask(f"{question} [y/N] ")
        except EOFError:
            answer = ""
        if answer.strip().lower() not in _YES:
            raise Refused("nothing was changed: the answer was no")

    @contextmanager
    def progress(self, doing: str, *, total: int) -> Iterator["Advance"]:
        """Show a bar on a terminal while the block runs; the block is given what moves it."""
        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.err,
            transient=True,
            disable=not self.err.is_terminal,
        )
        with bar:
            task = bar.add_task(doing, total=total)
            yield lambda done: bar.advance(task, done)


class Advance(Protocol):
    """Moves a progress bar."""

    def __call__(self, done: int, /) -> None:
        """Add what was done since the last time."""
        ...


class _Console(Console):
    """Whatever is shown, and however it got there: no text in it commands the terminal."""

    @override
    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control else Segment(harmless(text), style)


def open_terminal() -> Terminal:
    """Return the process's own terminal, as the streams are now."""
    return Terminal(out=console(sys.stdout), err=console(sys.stderr), ask=_ask if _somebody_there() else None)


def console(stream: object) -> Console:
    """Return a console that takes text as it is: no markup, no emoji, no colours where no person looks."""
    # A pipe has no width: rich would fold tables at 80.
    piped = not getattr(stream, "isatty", lambda: False)() and "COLUMNS" not in os.environ
    made = _Console(
        file=stream,  # type: ignore[arg-type]  # a text stream; tests give theirs
        markup=False,
        highlight=False,
        emoji=False,
        soft_wrap=False,
        width=_PIPED_WIDTH if piped else None,
    )
    if made.width >= _NARROWEST:
        return made
    # Some terminals say that they have no width at all: nothing would be shown.
    made.width = _NARROWEST
    return made


def _somebody_there() -> bool:
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def _ask(question: str) -> str:
    sys.stderr.write(question)
    sys.stderr.flush()
    answer = sys.stdin.readline()
    if not answer:
        raise EOFError
    return answer
