"""A mutant: one change to the code that breaks a promise, and the tests that must fail because of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class EditMisses(Exception):
    """The text to be changed is not in its file exactly once: the mutant has to follow the code."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One replacement in one file."""

    path: str
    """Relative to the repository."""
    old: str
    """Occurs exactly once."""
    new: str

    def apply(self, root: Path) -> None:
        """Change the file under `root`. Raises EditMisses."""
        file = root / self.path
        text = file.read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise EditMisses(f"{self.path} holds {text.count(self.old)} times, not once: {self.old!r}")
        file.write_text(text.replace(self.old, self.new), encoding="utf-8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One way to break a promise."""

    name: str
    """Short, unique, of lower-case words with hyphens."""
    promise: str
    breaks: str
    """What it does wrong, in a few words."""
    edits: tuple[Edit, ...]
    caught_by: tuple[str, ...]
    """Pytest's names of tests, each of which must fail on the mutant."""
    real_broker: bool = False
    """Whether the tests need a real Apache Kafka."""
