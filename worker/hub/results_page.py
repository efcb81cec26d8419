"""Draws the tables of docs/results.md: `python -m worker.hub.results_page [--check]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from worker.hub.catalogue import EVERY_API, apis_of
from worker.hub.result_tables import STATUSES
from worker.saga.diagram import redraw, table
from worker.saga.plan import EDITIONS, PROFILE_STEPS, ProfileName

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from worker.hub.apis.api import Api

PAGE: Final = Path(__file__).parents[2] / "docs" / "results.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the drawn parts of the page, or with `--check` compare them; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m worker.hub.results_page", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 if the page is not as drawn"
    )
    parser.add_argument("--page", type=Path, default=PAGE, help="the page (default: docs/results.md)")
    options = parser.parse_args(arguments)
    return redraw(options.page, PARTS, check=options.check, command=parser.prog)


def apis() -> str:
    """Draw which API serves which step, and in which profiles."""
    rows = [[api.name, f"`{api.step.value}`", ", ".join(_profiles(api))] for api in EVERY_API]
    return table(["API", "step", "profiles"], rows)


def _profiles(api: Api) -> list[str]:
    return [
        f"`{profile.value}`"
        for profile in ProfileName
        if api.step in PROFILE_STEPS[profile] and apis_of(EDITIONS[profile]).get(api.step) is api
    ]


def codes() -> str:
    """Draw the table of each API under its name."""
    return "\n" + "".join(f"### {api.name}\n{_codes(api)}" for api in EVERY_API)


def _codes(api: Api) -> str:
    letters = {outcome: letter for letter, outcome in STATUSES.items()}
    rows = []
    for row in api.table.values():
        later = "" if row.after_undecided is None else f"; after doubt `{row.after_undecided.value}`"
        rows.append(
            [f"`{row.code}`", letters[row.outcome], f"`{row.result_class.value}`{later}", row.meaning]
        )
    return table(["code", "status", "class", "what it means, and what to do"], rows)


PARTS: Final[Mapping[str, Callable[[], str]]] = {"APIs": apis, "codes": codes}
"""What is drawn, by the name in its marks."""


if __name__ == "__main__":
    sys.exit(main())
