"""Draws the diagram and the tables of docs/saga.md: `python -m worker.saga.diagram [--check]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from contracts.states import Reason, State, Step
from worker.saga.patience import GIVE_UP, HOUR_MS, MINUTE_MS, PATIENCE, SECOND_MS, GiveUp
from worker.saga.results import ResultClass
from worker.saga.table import FINAL, FIRST, FLOW, MOVES, Move

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

PAGE: Final = Path(__file__).parents[2] / "docs" / "saga.md"


class PageUnusable(Exception):
    """The page lacks the marks between which something is drawn."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the drawn parts of the page, or with `--check` compare them; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m worker.saga.diagram", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 if the page is not as drawn"
    )
    parser.add_argument("--page", type=Path, default=PAGE, help="the page (default: docs/saga.md)")
    options = parser.parse_args(arguments)
    return redraw(options.page, PARTS, check=options.check, command=parser.prog)


def redraw(page: Path, parts: Mapping[str, Callable[[], str]], *, check: bool, command: str) -> int:
    """Draw the parts of a page anew, or only compare them; say what is wrong, return the exit code."""
    try:
        found = page.read_text(encoding="utf-8")
        wanted = drawn(found, parts)
    except (OSError, PageUnusable) as error:
        sys.stderr.write(f"{page}: {error}\n")
        return 1
    if found == wanted:
        return 0
    if check:
        sys.stdout.write(f"{page} is not as the code draws it: run {command}\n")
        return 1
    page.write_text(wanted, encoding="utf-8")
    return 0


def drawn(page: str, parts: Mapping[str, Callable[[], str]]) -> str:
    """Return the page with each part drawn anew between its marks. Raises PageUnusable."""
    for name, draw in parts.items():
        start, end = f"<!-- drawn: {name} -->\n", f"<!-- end: {name} -->"
        before, opened, rest = page.partition(start)
        _, closed, after = rest.partition(end)
        if not (opened and closed):
            raise PageUnusable(f"put the marks {start.strip()} and {end} where the {name} belong")
        page = f"{before}{start}{draw()}{end}{after}"
    return page


# --- the parts ---------------------------------------------------------------


def states() -> str:
    """Draw which state may follow which; those that the same states follow share a box."""
    boxes = _boxes()
    box_of = {state: name for name, members in boxes.items() for state in members}
    lines = ["flowchart LR", "    start((start))"]
    lines += [f"    {_box(name, members)}" for name, members in boxes.items()]
    lines += [
        f"    start -->{_label(targets, boxes[name])} {name}"
        for name, targets in _by_box(FIRST, box_of).items()
    ]
    for source, members in boxes.items():
        for target, targets in _by_box(FLOW[members[0]], box_of).items():
            lines.append(f"    {source} -->{_label(targets, boxes[target])} {target}")
    return "```mermaid\n" + "\n".join(lines) + "\n```\n"


def _boxes() -> dict[str, list[State]]:
    boxes: dict[str, list[State]] = {}
    shared: dict[frozenset[State], str] = {}
    for state in State:
        after = FLOW[state]
        name = state.value if state in FINAL else shared.setdefault(after, state.value)
        boxes.setdefault(name, []).append(state)
    return boxes


def _by_box(states: Iterable[State], box_of: Mapping[State, str]) -> dict[str, list[State]]:
    found: dict[str, list[State]] = {}
    wanted = frozenset(states)
    for state in State:
        if state in wanted:
            found.setdefault(box_of[state], []).append(state)
    return found


def _box(name: str, members: list[State]) -> str:
    text = "<br/>".join(state.value for state in members)
    return f'{name}(["{text}"])' if members[0] in FINAL else f'{name}["{text}"]'


def _label(targets: list[State], members: list[State]) -> str:
    """Name the states that an edge leads to, where its box holds others, too."""
    return "" if targets == members else f"|{', '.join(state.value for state in targets)}|"


def moves() -> str:
    """Draw what each result class means at each step."""
    rows = [
        [
            f"`{result.value}`",
            *("never" if (move := MOVES[step, result]) is Move.ILLEGAL else move.value for step in Step),
        ]
        for result in ResultClass
    ]
    return table(["result class", *(f"`{step.value}`" for step in Step)], rows)


def patience() -> str:
    """Draw how long each step is tried."""
    ends = {GiveUp.LAPSE: State.LAPSED.value, GiveUp.PARK: f"parked, `{Reason.OUTCOME_UNKNOWN.value}`"}
    rows = [
        [
            f"`{step.value}`",
            str(PATIENCE[step].quick),
            ", ".join(_duration(wait) for wait in PATIENCE[step].waits_ms),
            _duration(PATIENCE[step].give_up_after_ms),
            ends[GIVE_UP[step]],
        ]
        for step in Step
    ]
    return table(["step", "quick tries", "waits (the last one repeats)", "gives up after", "then"], rows)


def table(head: list[str], rows: list[list[str]]) -> str:
    """Draw a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n" + "".join(f"| {' | '.join(cells)} |\n" for cells in lines) + "\n"


def _duration(ms: int) -> str:
    units = ((HOUR_MS, "h"), (MINUTE_MS, "min"), (SECOND_MS, "s"), (1, "ms"))
    size, unit = next((size, unit) for size, unit in units if ms % size == 0)
    return f"{ms // size} {unit}"


PARTS: Final[Mapping[str, Callable[[], str]]] = {"states": states, "moves": moves, "patience": patience}
"""What is drawn, by the name in its marks."""


if __name__ == "__main__":
    sys.exit(main())
