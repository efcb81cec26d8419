"""What the sandbox can do with a call; `worker.sandbox.payment.behaviour_text` is how a person writes it.

Where it does not speak (hang, reset, lost, junk, odd chunks) a revocation happens only with ``done``.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

TRICKLE_MS: Final = 200
"""The pause between two bytes of a trickled answer where the rule names none."""


class Saying(StrEnum):
    """What the answer says."""

    ALLOW = "allow"
    """``S SUCCESS``: permission given, token revoked."""
    REFUSE = "refuse"
    """consultUnbinding: ``S SUCCESS`` with ``allowUnbinding: "false"``."""
    CODE = "code"
    """Any status with any code, contradictions included."""
    NEVER_ISSUED = "never_issued"
    """The token is not known here."""
    PERMISSION_MISSING = "permission_missing"
    """consultUnbinding: ``S SUCCESS`` without ``allowUnbinding``."""
    PERMISSION_ODD = "permission_odd"
    """consultUnbinding: ``S SUCCESS`` with an ``allowUnbinding`` that is neither true nor false."""
    PERMISSION_BOOLEAN = "permission_boolean"
    """consultUnbinding: permission as a JSON boolean, not as text."""
    RESULT_MISSING = "result_missing"
    """Signed JSON without ``result``."""
    GARBAGE = "garbage"
    """A proxy's HTML page: unsigned, not JSON."""
    SIGNED_GARBAGE = "signed_garbage"
    """Properly signed, not JSON."""
    EMPTY = "empty"
    """Properly signed, without a body."""
    HUGE = "huge"
    """``S SUCCESS`` in a body of a megabyte, properly signed."""
    NOTHING = "nothing"
    """An HTTP status with a line of plain text, unsigned."""


class Seal(StrEnum):
    """How the answer is signed."""

    RIGHT = "right"
    WRONG = "wrong signature"
    """A well-formed signature over other bytes."""
    MISSING = "unsigned"
    """No ``Signature`` header."""
    OLD_KEY = "old key version"
    """Signed with the hub's former key, and saying so."""
    OTHER_CLIENT = "wrong client id"
    """Properly signed for another client id."""
    OTHER_TIME = "wrong time header"
    """The ``Response-Time`` sent is not the one that was signed."""
    OTHER_PATH = "wrong path"
    """Properly signed for another path."""
    NO_CLIENT = "no client id"
    """Properly signed, but without its ``Client-Id`` header."""
    NO_TIME = "no time header"
    """Properly signed, but without its ``Response-Time`` header."""


class Leaving(StrEnum):
    """How the answer leaves, or fails to."""

    SENT = "sent"
    HUNG = "hung"
    """The connection stays open, nothing comes."""
    RESET = "reset"
    """TCP RST before any byte of an answer."""
    CLOSED = "closed"
    """The connection is closed in good order before any byte of an answer."""
    HALF = "half"
    """Headers and half of the body, then the connection is closed."""
    TRICKLED = "trickled"
    """Byte by byte."""
    JUNK = "junk"
    """Bytes that are not HTTP."""
    ODD_CHUNKS = "odd chunks"
    """A head that promises chunks, and bytes that are none."""
    OVERLONG = "overlong"
    """Longer than its ``Content-Length`` says."""
    INTERIM = "interim"
    """``100 Continue`` first, then the answer."""
    REDIRECTED = "redirected"
    """With a ``Location``, to the same API."""


WORDLESS: Final = frozenset({Leaving.HUNG, Leaving.RESET, Leaving.CLOSED, Leaving.JUNK, Leaving.ODD_CHUNKS})
"""Ways of leaving that say nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What is done with one call. Times are milliseconds, or seconds where the name says so."""

    text: str
    """As a person wrote it."""
    saying: Saying = Saying.ALLOW
    status: str | None = None
    """With ``CODE``: S, F or U."""
    code: str | None = None
    reason: str | None = None
    seal: Seal = Seal.RIGHT
    leaving: Leaving = Leaving.SENT
    trickle_ms: int = TRICKLE_MS
    http_status: int = 200
    retry_after: str | None = None
    """Text of the header, as it leaves."""
    clock_off_s: int = 0
    """How far the payment side's clock is ahead when it signs; behind: negative."""
    slow_ms: int = 0
    done: bool = False
    """The revocation happens whatever is said."""

    @property
    def has_effect(self) -> bool:
        """Tell whether a revoking API revokes: success is said, or ``done`` demands it."""
        return self.done or (self.saying is Saying.ALLOW and self.leaving not in WORDLESS)


@dataclass(frozen=True, slots=True)
class Turn:
    """One part of a script; ``times`` is ``None`` for ever."""

    behaviour: Behaviour
    times: int | None = None


Script = tuple[Turn, ...]


def turn_at(script: Script, taken: int) -> Behaviour | None:
    """Return what a script does after ``taken`` calls, or ``None`` when it is used up."""
    for turn in script:
        if turn.times is None or taken < turn.times:
            return turn.behaviour
        taken -= turn.times
    return None
