"""What a check of the settings found."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    """The worker could not do its work, or would be unsafe: it must not start."""
    WARNING = "warning"
    """It can work; somebody should know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that a check found. No text has a value of a secret or the content of a file in it."""

    severity: Severity
    name: str
    """The leaf or section."""
    what: str
    remedy: str
    origin: str | None = None
    """Where the leaf's value came from: `file:line` or the environment variable; `None` if nobody gave it."""


def error(name: str, what: str, remedy: str) -> Finding:
    """Return a finding that keeps the worker from starting."""
    return Finding(severity=Severity.ERROR, name=name, what=what, remedy=remedy)


def warning(name: str, what: str, remedy: str) -> Finding:
    """Return a finding that the worker can live with."""
    return Finding(severity=Severity.WARNING, name=name, what=what, remedy=remedy)
