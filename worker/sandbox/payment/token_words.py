"""Behaviours written into a demo token, so that demo requests need no rules.

    demo.WORD[.WORD…].NAME     as in  demo.refuse.001   demo.cancel-lost1.42   demo.consult-unknown2.slow200.7

WORD is ``[consult-|cancel-]WHAT[N]``: at which API (else at each), what, and how many times (else for ever).
Words take their turns from left to right, per API; when all are used up the sandbox goes on as by default.
``slowN`` delays each answer by N milliseconds. ``F-CODE`` and ``U-CODE`` say any code. NAME is free.
A token whose first part is not ``demo`` is never looked at.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from contracts.states import Step
from worker.sandbox.payment.behaviour import Behaviour, Script, Turn
from worker.sandbox.payment.behaviour_text import parse_behaviour
from worker.sandbox.payment.errors import TokenWordError

PREFIX: Final = "demo."

WORDS: Final[dict[str, str]] = {
    "allow": "allow",
    "refuse": "refuse one bill is still open",
    "unknown": "U",
    "busy": "U REQUEST_TRAFFIC_EXCEED_LIMIT",
    "fail": "F",
    "never-issued": "never issued",
    "hang": "hang",
    "reset": "reset",
    "lost": "lost",
    "done-reset": "reset after done",
    "done-unknown": "U + done",
    "done-hang": "hang + done",
    "half": "half answer",
    "trickle": "trickle",
    "garbage": "garbage",
    "junk": "junk",
    "badsig": "wrong signature",
    "unsigned": "unsigned",
    "oldkey": "old key version",
    "otherclient": "wrong client id",
    "othertime": "wrong time header",
    "throttle": "429 1",
    "unavailable": "503 1",
}
"""Word → behaviour."""

_SCOPES: Final = {"consult": Step.CONSULT, "cancel": Step.CANCEL_TOKEN}
_WORD: Final = re.compile(
    r"(?:(?P<scope>consult|cancel)-)?(?:(?P<status>[FU])-(?P<code>[A-Z_]{1,64})|(?P<what>[a-z-]+))(?P<number>\d{1,6})?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a demo token asks of one API."""

    script: Script = ()
    slow_ms: int = 0


_NO_WISH: Final = Wish()


def wish(token: str, step: Step) -> Wish:
    """Return what a token asks of an API; tokens of other forms ask nothing. Raises TokenWordError."""
    if not token.startswith(PREFIX):
        return _NO_WISH
    return _wish(token, step)


@lru_cache(maxsize=4096)
def _wish(token: str, step: Step) -> Wish:
    turns: list[Turn] = []
    slow_ms = 0
    for word in token.split(".")[1:-1]:
        scope, behaviour, number = _read(word)
        if scope not in {None, step}:
            continue
        if behaviour is None:
            slow_ms += number or 0
        else:
            turns.append(Turn(behaviour, number))
    return Wish(script=tuple(turns), slow_ms=slow_ms)


def _read(word: str) -> tuple[Step | None, Behaviour | None, int | None]:
    """Return scope, behaviour (none for ``slow``) and number of a word."""
    found = _WORD.fullmatch(word)
    if found is None:
        raise _unknown(word)
    scope = _SCOPES.get(found["scope"])
    number = int(found["number"]) if found["number"] else None
    what = found["what"]
    if what == "slow":
        if number is None:
            raise TokenWordError("the word 'slow' of a demo token needs milliseconds, such as slow200")
        return scope, None, number
    if what is None:
        return scope, parse_behaviour(f"{found['status']} {found['code']}"), number
    if what not in WORDS:
        raise _unknown(word)
    return scope, parse_behaviour(WORDS[what]), number


def _unknown(word: str) -> TokenWordError:
    known = ", ".join([*WORDS, "slowN", "F-CODE", "U-CODE"])
    return TokenWordError(f"{word[:40]!r} is no word for a demo token; known are: {known}")
