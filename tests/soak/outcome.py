"""What a soak is made of, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

    from tests.soak.figures import Report

RATE: Final = 25.0
"""Requests a second that two cores carry, together with workers, broker and payment side."""
LOOK_S: Final = 60.0
_SHOWN: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What a soak is made of; the same seed gives the same load and the same schedule."""

    seed: int
    for_s: float
    rate: float = RATE
    look_s: float = LOOK_S

    @property
    def replay(self) -> str:
        """The command that plays it again."""
        return f"python -m tests.soak --seed {self.seed} --minutes {self.for_s / 60:g} --rate {self.rate:g}"


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What came of a soak."""

    course: Course
    directory: Path
    violations: list[str] = field(default_factory=list)
    report: Report | None = None

    @property
    def good(self) -> bool:
        """Whether every promise was kept."""
        return not self.violations

    def told(self) -> str:
        """Tell what is wrong, where to look and how to play it again."""
        wrong = self.violations[:_SHOWN]
        if len(self.violations) > _SHOWN:
            wrong.append(f"… and {len(self.violations) - _SHOWN} more")
        return "\n".join(
            [
                *(wrong or ["all promises kept"]),
                f"logs, ledger, diary and topics: {self.directory}",
                f"again: {self.course.replay}",
            ]
        )
