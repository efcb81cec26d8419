"""What can be wrong with settings, collected and told in one go.

SettingsError     one or more problems; nothing was loaded
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong. Shows names, never a value: it could be a secret in the wrong place."""

    name: str
    """Dotted name of the leaf or section, such as `patience.consult.quick`."""
    wrong: str
    """What is wrong, as the end of a sentence that starts with the name."""
    origin: str
    """Where it came from: `file:line`, or the name of the environment variable."""
    remedy: str
    """What to do."""


class SettingsError(Exception):
    """The settings cannot be used; `str()` is a readable list of all problems."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        head = "1 setting is wrong:" if count == 1 else f"{count} settings are wrong:"
        super().__init__("\n".join([head, *(_told(problem) for problem in self.problems)]))


def _told(problem: Problem) -> str:
    return f"\n  {problem.name} {problem.wrong}\n    from: {problem.origin}\n    do:   {problem.remedy}"
