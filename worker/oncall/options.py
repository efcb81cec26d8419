"""Options that several commands share, and how their texts are read."""

from pathlib import Path
from typing import Annotated

import typer

from worker.oncall.errors import UsageWrong

Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings file (TOML); else UNBINDING_CONFIG names it."),
]
Json = Annotated[bool, typer.Option("--json", help="JSON Lines on standard output, for programs.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; for scripts.")]


def duration_ms(text: str, *, option: str) -> int:
    """Return a duration such as `90s`, `10m` or `2` (seconds) in ms. Raises `UsageWrong`."""
    # Not at the top: the settings' modules cost a third of a second, and most commands have no duration.
    from worker.settings.units import parse_duration  # noqa: PLC0415 - see above

    try:
        return parse_duration(text)
    except ValueError as error:
        raise UsageWrong(f"{option} {error}; write it as 90s, 10m or 2h") from None
