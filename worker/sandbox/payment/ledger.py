"""The ledger: every call the sandbox got and how it ended, append-only, and what that says of each token.

With a file, each line is in the operating system's hands before the answer leaves: a sandbox that was killed
takes its ledger up again and forgets no revocation. Tokens are kept as fingerprints only; who knows a token
can look it up.
"""

import dataclasses
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any, Final, Self

import orjson

from contracts.states import Step
from worker.sandbox.payment.errors import LedgerError

_TAKEN, _ENDED, _RESET = "taken", "ended", "reset"
_PRIVATE: Final = 0o600


class Ending(StrEnum):
    """How a call ended on the wire."""

    ANSWERED = "answered"
    RESET = "reset"
    LOST = "lost"
    """The connection was closed without an answer."""
    HALF = "half"
    JUNK = "junk"
    CLIENT_LEFT = "client_left"
    """The caller hung up (gave up, or died) before the whole answer was out."""
    SANDBOX_STOPPED = "sandbox_stopped"
    """The sandbox ended, or was killed, before the answer was out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallTaken:
    """A call, as it was judged when it came. Moments are milliseconds since the Unix epoch."""

    number: int
    received_at: int
    method: str
    path: str
    api: str | None
    client_id: str | None
    fingerprint: str | None
    """Of the token, where the request could be believed and read."""
    idempotency_key: str | None
    """The same fingerprint, where the API revokes by token."""
    verification: str
    """``verified``, or the code that refused the request."""
    rule: str | None
    """What decided; none where the request was refused at the door."""
    behaviour: str | None
    says_status: str | None
    says_code: str | None
    http_status: int | None
    """``None``, as with what is said, where nothing is said."""
    effect: bool
    """This call made the token dead."""
    overlaps: tuple[int, ...] = ()
    """Calls of the same token that were in flight when this one came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEnded:
    """The end of a call."""

    number: int
    ended: Ending
    ended_at: int


@dataclass(slots=True)
class TokenHistory:
    """What the ledger says of one token: folded from its calls, changed by the ledger only."""

    fingerprint: str
    calls: Counter[str] = field(default_factory=Counter)
    """Calls per API."""
    revoked_at: int | None = None
    revoked_by: int | None = None
    """Number of the call that made it dead."""
    asked_after_revoke: int = 0
    """consultUnbinding calls that came when it was dead already."""
    overlapping: int = 0
    """Calls that came while another one of this token was in flight."""
    in_flight: set[int] = field(default_factory=set)
    numbers: list[int] = field(default_factory=list)
    taken: Counter[tuple[Step, str]] = field(default_factory=Counter)
    """Calls per API and rule: how far each script has come."""

    @property
    def is_live(self) -> bool:
        """Tell whether nothing has revoked it."""
        return self.revoked_at is None

    def as_json(self) -> dict[str, Any]:
        """Return it as the admin endpoint shows it."""
        return {
            "fingerprint": self.fingerprint,
            "state": "live" if self.is_live else "revoked",
            "revoked_at": self.revoked_at,
            "revoked_by": self.revoked_by,
            "calls": {str(api): count for api, count in self.calls.items()},
            "asked_after_revoke": self.asked_after_revoke,
            "overlapping": self.overlapping,
            "in_flight": sorted(self.in_flight),
            "numbers": list(self.numbers),
        }


def fingerprint(token: str) -> str:
    """Return the first 32 hex digits of the SHA-256 of a token: how the ledger names it."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()[:32]


class Ledger:
    """All calls since the start (or the last reset), and the tokens they speak of."""

    def __init__(self) -> None:
        self._taken: dict[int, CallTaken] = {}
        self._ended: dict[int, CallEnded] = {}
        self._tokens: dict[str, TokenHistory] = {}
        self._next = 1
        self._file: int | None = None

    @classmethod
    def at(cls, path: Path, *, now_at: int) -> Self:
        """Open a ledger with a file, taking up what it holds; its open calls are marked as ended by our stop.

        A last line without its line end (the machine died while it was written) is cut off.
        Raises LedgerError.
        """
        ledger = cls()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            ledger._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _PRIVATE)
            held = path.read_bytes()
            whole = held.rfind(b"\n") + 1
            os.ftruncate(ledger._file, whole)
        except OSError as error:
            raise LedgerError(
                f"{path}: the ledger cannot be opened ({error}): check path and permission"
            ) from None
        for place, line in enumerate(held[:whole].splitlines(), 1):
            try:
                ledger._fold(orjson.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                ledger.close()
                raise LedgerError(
                    f"{path}: line {place} is none of a ledger ({type(error).__name__}): move the file away"
                ) from None
        for number in ledger._taken.keys() - ledger._ended.keys():
            ledger.end(number, Ending.SANDBOX_STOPPED, now_at=now_at)
        return ledger

    def close(self) -> None:
        """Close the file. The ledger can be read on."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def next_number(self) -> int:
        """Give the next call its number."""
        number = self._next
        self._next += 1
        return number

    def in_flight(self, fingerprint: str) -> tuple[int, ...]:
        """Return the calls of a token that have not ended."""
        known = self._tokens.get(fingerprint)
        return tuple(sorted(known.in_flight)) if known is not None and known.in_flight else ()

    def take(self, call: CallTaken) -> None:
        """Write down a call, before anything of its answer leaves."""
        self._write(_TAKEN, call)
        self._fold_taken(call)

    def end(self, number: int, ended: Ending, *, now_at: int) -> None:
        """Write down how a call ended; ignored for one that has ended, or came before a reset."""
        if number in self._ended or number not in self._taken:
            return
        end = CallEnded(number=number, ended=ended, ended_at=now_at)
        self._write(_ENDED, end)
        self._fold_ended(end)

    def reset(self) -> None:
        """Forget all calls and tokens; numbers go on."""
        if self._file is not None:
            os.write(self._file, orjson.dumps({"line": _RESET, "next": self._next}) + b"\n")
        self._forget()

    def token(self, token: str) -> TokenHistory:
        """Return what is known of a token: live and uncalled, if nothing is."""
        return self.history(fingerprint(token))

    def history(self, fingerprint: str) -> TokenHistory:
        """Return what is known of a token by its fingerprint."""
        return self._tokens.get(fingerprint) or TokenHistory(fingerprint)

    def tokens(self) -> Iterator[TokenHistory]:
        """Iterate over all tokens that were ever called with."""
        return iter(self._tokens.values())

    def calls(self, *, token: str | None = None) -> list[CallTaken]:
        """Return the calls, of one token or all, in the order of their numbers."""
        if token is None:
            return list(self._taken.values())
        return [self._taken[number] for number in self.token(token).numbers]

    def ended(self, number: int) -> CallEnded | None:
        """Return how a call ended, or ``None`` while it is in flight."""
        return self._ended.get(number)

    def page(self, *, after: int, limit: int, fingerprint: str | None = None) -> list[dict[str, Any]]:
        """Return up to ``limit`` calls with numbers above ``after``, as JSON objects."""
        numbers: Iterable[int] = self._taken if fingerprint is None else self.history(fingerprint).numbers
        return [self._as_json(number) for number in islice((n for n in numbers if n > after), limit)]

    def __len__(self) -> int:
        return len(self._taken)

    def _as_json(self, number: int) -> dict[str, Any]:
        end = self._ended.get(number)
        return dataclasses.asdict(self._taken[number]) | {
            "ended": None if end is None else end.ended,
            "ended_at": None if end is None else end.ended_at,
        }

    def _write(self, line: str, record: CallTaken | CallEnded) -> None:
        if self._file is not None:
            # One write straight to the system: a kill after it loses nothing, one before it tears nothing.
            os.write(self._file, orjson.dumps({"line": line, "data": record}) + b"\n")

    def _fold(self, line: dict[str, Any]) -> None:
        kind = line["line"]
        if kind == _RESET:
            self._forget()
            self._next = line["next"]
        elif kind == _TAKEN:
            data = line["data"]
            self._fold_taken(CallTaken(**data | {"overlaps": tuple(data["overlaps"])}))
        elif kind == _ENDED:
            data = line["data"]
            self._fold_ended(CallEnded(**data | {"ended": Ending(data["ended"])}))
        else:
            raise ValueError(kind)

    def _forget(self) -> None:
        self._taken.clear()
        self._ended.clear()
        self._tokens.clear()

    def _fold_taken(self, call: CallTaken) -> None:
        self._taken[call.number] = call
        self._next = max(self._next, call.number + 1)
        if call.fingerprint is None or call.api is None:
            return
        history = self._tokens.get(call.fingerprint)
        if history is None:
            history = self._tokens[call.fingerprint] = TokenHistory(call.fingerprint)
        history.numbers.append(call.number)
        history.in_flight.add(call.number)
        history.overlapping += bool(call.overlaps)
        history.calls[call.api] += 1
        if call.rule is not None:
            history.taken[Step(call.api), call.rule] += 1
        if call.api == Step.CONSULT and not history.is_live:
            history.asked_after_revoke += 1
        if call.effect and history.is_live:
            history.revoked_at = call.received_at
            history.revoked_by = call.number

    def _fold_ended(self, end: CallEnded) -> None:
        self._ended[end.number] = end
        call = self._taken.get(end.number)
        if call is not None and call.fingerprint is not None:
            self._tokens[call.fingerprint].in_flight.discard(end.number)
