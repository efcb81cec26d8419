"""What the sandbox can do with a call, and the text in which a person writes it.

A behaviour is one or more clauses joined by ``" + "``; each clause settles another side of it:

    what is said      allow · S · refuse [REASON] · F [CODE] · U [CODE] · S CODE · never issued
                      permission missing|odd|boolean · result missing · garbage · signed garbage
    how it is sealed  wrong signature · unsigned · old key version · wrong client id · wrong time header
    how it leaves     hang · reset · reset after done · lost · half answer · trickle [MS] · junk
    HTTP status       429 [SECONDS] · 503 [SECONDS] · http STATUS [SECONDS]     (SECONDS: Retry-After)
    time              slow MS [ms]
    the effect        done     the revocation happens whatever is said

A status without words is a plain, unsigned answer; with words the words are signed. ``lost`` is ``done``
and a closed connection. A script is behaviours joined by ``" then "``, each with an optional ``N times``: one
that names no number counts once, the last one for ever. A script whose numbers are used up no longer applies.

Where the sandbox does not speak (hang, reset, lost, junk) a revocation happens only with ``done``.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from worker.sandbox.payment.errors import BehaviourError

TRICKLE_MS: Final = 200
"""The pause between two bytes of a trickled answer where the rule names none."""

_LONGEST_MS: Final = 24 * 3_600_000


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


WORDLESS: Final = frozenset({Leaving.HUNG, Leaving.RESET, Leaving.CLOSED, Leaving.JUNK})
"""Ways of leaving that say nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What is done with one call. Times are milliseconds, Retry-After is seconds as on the wire."""

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
    retry_after_s: int | None = None
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


def parse_script(source: str | Sequence[str]) -> Script:
    """Read a script from one text (parts joined by " then ") or a list of parts. Raises BehaviourError."""
    parts = source.split(" then ") if isinstance(source, str) else list(source)
    if not parts:
        raise BehaviourError("a script is empty: give at least one behaviour, such as 'allow'")
    return tuple(_turn(part, last=at == len(parts) - 1) for at, part in enumerate(parts))


def parse_behaviour(text: str) -> Behaviour:
    """Read one behaviour: clauses joined by " + ". Raises BehaviourError."""
    fields: dict[str, Any] = {}
    for clause in text.split(" + "):
        read = _clause(" ".join(clause.split()))
        twice = sorted(fields.keys() & read.keys())
        if twice:
            raise BehaviourError(f"{text!r} settles {_SIDES[twice[0]]} twice: keep one of the clauses")
        fields |= read
    if "saying" in fields and fields.get("leaving") in WORDLESS:
        raise BehaviourError(
            f"{text!r} says something, but no word leaves: drop the words; 'done' is for the effect"
        )
    if "http_status" in fields:
        fields.setdefault("saying", Saying.NOTHING)
    return Behaviour(text=text, **fields)


def _turn(text: str, *, last: bool) -> Turn:
    counted = _TIMES.fullmatch(text.strip())
    if counted is None:
        return Turn(parse_behaviour(text.strip()), None if last else 1)
    return Turn(parse_behaviour(counted["what"]), int(counted["times"]))


def _clause(text: str) -> Mapping[str, Any]:
    for pattern, read in _CLAUSES:
        found = pattern.fullmatch(text)
        if found is not None:
            return read(found)
    raise BehaviourError(f"{text!r} is no behaviour; known are: {', '.join(KNOWN)}")


def _coded(status: str) -> Callable[[re.Match[str]], Mapping[str, Any]]:
    usual = {"F": "PROCESS_FAIL", "U": "UNKNOWN_EXCEPTION", "S": "SUCCESS"}[status]

    def read(found: re.Match[str]) -> Mapping[str, Any]:
        code = found["code"] or usual
        if (status, code) == ("S", "SUCCESS"):
            return {"saying": Saying.ALLOW}
        return {"saying": Saying.CODE, "status": status, "code": code}

    return read


def _http(found: re.Match[str]) -> Mapping[str, Any]:
    read: dict[str, Any] = {"http_status": int(found["status"])}
    if found["after"] is not None:
        read["retry_after_s"] = int(found["after"])
    return read


def _slow(found: re.Match[str]) -> Mapping[str, Any]:
    return {"slow_ms": _bounded(int(found["ms"]))}


def _trickle(found: re.Match[str]) -> Mapping[str, Any]:
    return {"leaving": Leaving.TRICKLED, "trickle_ms": _bounded(int(found["ms"] or TRICKLE_MS))}


def _refuse(found: re.Match[str]) -> Mapping[str, Any]:
    return {"saying": Saying.REFUSE, "reason": found["reason"]}


def _bounded(ms: int) -> int:
    if ms > _LONGEST_MS:
        raise BehaviourError(f"{ms} ms is longer than a day: give at most {_LONGEST_MS} ms")
    return ms


def _always(**fields: Any) -> Callable[[re.Match[str]], Mapping[str, Any]]:
    return lambda _found: fields


_SIDES: Final = {
    "saying": "what is said",
    "status": "what is said",
    "code": "what is said",
    "reason": "what is said",
    "seal": "how it is sealed",
    "leaving": "how it leaves",
    "trickle_ms": "how it leaves",
    "http_status": "the HTTP status",
    "retry_after_s": "the HTTP status",
    "slow_ms": "the time",
    "done": "the effect",
}
_TIMES: Final = re.compile(r"(?P<what>.+?) (?P<times>[1-9]\d{0,8}) times?", re.ASCII)
_FORMS: Final[dict[str, tuple[str, Callable[[re.Match[str]], Mapping[str, Any]]]]] = {
    "allow": ("allow", _always(saying=Saying.ALLOW)),
    "S [CODE]": (r"S(?: (?P<code>[A-Z0-9_]{1,64}))?", _coded("S")),
    "F [CODE]": (r"F(?: (?P<code>[A-Z0-9_]{1,64}))?", _coded("F")),
    "U [CODE]": (r"U(?: (?P<code>[A-Z0-9_]{1,64}))?", _coded("U")),
    "refuse [REASON]": (r"refuse(?: (?P<reason>.{1,256}))?", _refuse),
    "never issued": ("never issued", _always(saying=Saying.NEVER_ISSUED)),
    "permission missing": ("permission missing", _always(saying=Saying.PERMISSION_MISSING)),
    "permission odd": ("permission odd", _always(saying=Saying.PERMISSION_ODD)),
    "permission boolean": ("permission boolean", _always(saying=Saying.PERMISSION_BOOLEAN)),
    "result missing": ("result missing", _always(saying=Saying.RESULT_MISSING)),
    "garbage": ("garbage", _always(saying=Saying.GARBAGE)),
    "signed garbage": ("signed garbage", _always(saying=Saying.SIGNED_GARBAGE)),
    "wrong signature": ("wrong signature", _always(seal=Seal.WRONG)),
    "unsigned": ("unsigned", _always(seal=Seal.MISSING)),
    "old key version": ("old key version", _always(seal=Seal.OLD_KEY)),
    "wrong client id": ("wrong client id", _always(seal=Seal.OTHER_CLIENT)),
    "wrong time header": ("wrong time header", _always(seal=Seal.OTHER_TIME)),
    "hang": ("hang", _always(leaving=Leaving.HUNG)),
    "reset": ("reset", _always(leaving=Leaving.RESET)),
    "reset after done": ("reset after done", _always(leaving=Leaving.RESET, done=True)),
    "lost": ("lost", _always(leaving=Leaving.CLOSED, done=True)),
    "half answer": ("half answer", _always(leaving=Leaving.HALF)),
    "trickle [MS]": (r"trickle(?: (?P<ms>\d{1,9})(?: ?ms)?)?", _trickle),
    "junk": ("junk", _always(leaving=Leaving.JUNK)),
    "429 [SECONDS]": (r"(?P<status>429)(?: (?P<after>\d{1,6}))?", _http),
    "503 [SECONDS]": (r"(?P<status>503)(?: (?P<after>\d{1,6}))?", _http),
    "http STATUS [SECONDS]": (r"http (?P<status>[2-5]\d\d)(?: (?P<after>\d{1,6}))?", _http),
    "slow MS": (r"slow (?P<ms>\d{1,9})(?: ?ms)?", _slow),
    "done": ("done", _always(done=True)),
}
_CLAUSES: Final = [(re.compile(pattern, re.ASCII), read) for pattern, read in _FORMS.values()]
KNOWN: Final = tuple(_FORMS)
"""Every clause, in the form in which messages and documents show it."""
