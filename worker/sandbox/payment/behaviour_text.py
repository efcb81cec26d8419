"""The text in which a person writes what the sandbox does with a call.

A behaviour is one or more clauses joined by ``" + "``; each clause settles another side of it:

    what is said      allow · S · refuse [REASON] · F [CODE] · U [CODE] · S CODE · never issued
                      permission missing|odd|boolean · result missing · garbage · signed garbage
                      empty · huge
    how it is sealed  wrong signature · unsigned · old key version · wrong client id · wrong time header
                      wrong path · no client id · no time header · clock off SECONDS
    how it leaves     hang · reset · reset after done · lost · half answer · trickle [MS] · junk
                      odd chunks · overlong · interim · redirect
    HTTP status       429 [SECONDS] · 503 [SECONDS] · http STATUS [SECONDS]     (SECONDS: Retry-After)
                      after TEXT     (Retry-After, whatever it says)
    time              slow MS [ms]
    the effect        done     the revocation happens whatever is said

A status without words is a plain, unsigned answer; with words the words are signed. ``lost`` is ``done``
and a closed connection. A script is behaviours joined by ``" then "``, each with an optional ``N times``: one
that names no number counts once, the last one for ever. A script whose numbers are used up no longer applies.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from worker.sandbox.payment.behaviour import (
    TRICKLE_MS,
    WORDLESS,
    Behaviour,
    Leaving,
    Saying,
    Script,
    Seal,
    Turn,
)
from worker.sandbox.payment.errors import BehaviourError

_LONGEST_MS: Final = 24 * 3_600_000
_TEMPORARY_REDIRECT: Final = 307


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
        read["retry_after"] = str(int(found["after"]))
    return read


def _after(found: re.Match[str]) -> Mapping[str, Any]:
    return {"retry_after": found["after"]}


def _clock_off(found: re.Match[str]) -> Mapping[str, Any]:
    return {"clock_off_s": int(found["seconds"])}


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
    "retry_after": "the HTTP status",
    "clock_off_s": "how it is sealed",
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
    "empty": ("empty", _always(saying=Saying.EMPTY)),
    "huge": ("huge", _always(saying=Saying.HUGE)),
    "wrong signature": ("wrong signature", _always(seal=Seal.WRONG)),
    "unsigned": ("unsigned", _always(seal=Seal.MISSING)),
    "old key version": ("old key version", _always(seal=Seal.OLD_KEY)),
    "wrong client id": ("wrong client id", _always(seal=Seal.OTHER_CLIENT)),
    "wrong time header": ("wrong time header", _always(seal=Seal.OTHER_TIME)),
    "wrong path": ("wrong path", _always(seal=Seal.OTHER_PATH)),
    "no client id": ("no client id", _always(seal=Seal.NO_CLIENT)),
    "no time header": ("no time header", _always(seal=Seal.NO_TIME)),
    "clock off SECONDS": (r"clock off (?P<seconds>-?\d{1,9})", _clock_off),
    "hang": ("hang", _always(leaving=Leaving.HUNG)),
    "reset": ("reset", _always(leaving=Leaving.RESET)),
    "reset after done": ("reset after done", _always(leaving=Leaving.RESET, done=True)),
    "lost": ("lost", _always(leaving=Leaving.CLOSED, done=True)),
    "half answer": ("half answer", _always(leaving=Leaving.HALF)),
    "trickle [MS]": (r"trickle(?: (?P<ms>\d{1,9})(?: ?ms)?)?", _trickle),
    "junk": ("junk", _always(leaving=Leaving.JUNK)),
    "odd chunks": ("odd chunks", _always(leaving=Leaving.ODD_CHUNKS)),
    "overlong": ("overlong", _always(leaving=Leaving.OVERLONG)),
    "interim": ("interim", _always(leaving=Leaving.INTERIM)),
    "redirect": (
        "redirect",
        _always(leaving=Leaving.REDIRECTED, saying=Saying.NOTHING, http_status=_TEMPORARY_REDIRECT),
    ),
    "429 [SECONDS]": (r"(?P<status>429)(?: (?P<after>\d{1,6}))?", _http),
    "503 [SECONDS]": (r"(?P<status>503)(?: (?P<after>\d{1,6}))?", _http),
    "http STATUS [SECONDS]": (r"http (?P<status>[2-5]\d\d)(?: (?P<after>\d{1,6}))?", _http),
    "after TEXT": (r"after (?P<after>[!-~][ -~]{0,63})", _after),
    "slow MS": (r"slow (?P<ms>\d{1,9})(?: ?ms)?", _slow),
    "done": ("done", _always(done=True)),
}
_CLAUSES: Final = [(re.compile(pattern, re.ASCII), read) for pattern, read in _FORMS.values()]
KNOWN: Final = tuple(_FORMS)
"""Every clause, in the form in which messages and documents show it."""
