"""Everything that can be wrong with the sandbox's own input.

SandboxError
├── BehaviourError     a behaviour's text cannot be read
├── RulesError         a rules document is wrong; lists every problem with its place
├── TokenWordError     a demo token holds a word that the sandbox does not know
├── KeysError          key or certificate files cannot be used
└── LedgerError        a ledger file cannot be taken up again
"""


class SandboxError(Exception):
    """The sandbox cannot do what it was told; the text says what, where, and what to do."""


class BehaviourError(SandboxError):
    """A behaviour's text cannot be read."""


class RulesError(SandboxError):
    """A rules document is wrong."""

    def __init__(self, source: str, problems: tuple[str, ...]) -> None:
        super().__init__(f"{source}: " + "; ".join(problems))
        self.problems = problems
        """One sentence per problem, each with its place in the document."""


class TokenWordError(SandboxError):
    """A demo token holds a word that the sandbox does not know."""


class KeysError(SandboxError):
    """Key or certificate files cannot be used."""


class LedgerError(SandboxError):
    """A ledger file cannot be taken up again."""
