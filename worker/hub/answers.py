"""An answer before it is read: what came back over HTTP, and the first careful steps into its body."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_RETRY_AFTER_MS: Final = 3_600_000
_LONGEST_SECONDS: Final = 10
_TOKEN_MARK: Final = "[token]"  # noqa: S105 - stands where a token, or the like, stood


class OwnCode(StrEnum):
    """Result codes of ours, for what is no answer or cannot be taken as one. A closed list."""

    NOT_SENT = "NOT_SENT"
    """No connection in time, so nothing has left. Check address, network and certificate."""
    NO_ANSWER = "NO_ANSWER"
    """The request may have arrived; no complete answer came."""
    UNVERIFIED_ANSWER = "UNVERIFIED_ANSWER"
    """Its signature is missing or does not fit: nothing was read from it. Check the public key on file."""
    UNREADABLE_ANSWER = "UNREADABLE_ANSWER"
    """The counterpart's own answer, but no JSON object. Ask the counterpart."""
    CONTRADICTORY_ANSWER = "CONTRADICTORY_ANSWER"
    """Status and code do not go together, or one is missing. Ask the counterpart."""
    INCOMPLETE_ANSWER = "INCOMPLETE_ANSWER"
    """``SUCCESS`` without the fields that go with it. Ask the counterpart."""
    SLOW_DOWN = "SLOW_DOWN"
    """HTTP 429 or 503 without a verified body: fewer calls, please."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one attempt brought: a verified JSON object, or why there is none."""

    body: Mapping[str, Any] | None = field(default=None, repr=False)
    """The verified body; with it ``flaw`` is ``None``."""
    flaw: OwnCode | None = None
    detail: str = ""
    """What is wrong, for people. May quote the counterpart: to be cleaned."""
    verified: bool = False
    http_status: int | None = None
    retry_after_ms: int | None = None


def read_object(content: bytes) -> Mapping[str, Any] | None:
    """Read a verified body; ``None`` if it is no JSON object (or too deep, or has numbers beyond measure)."""
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    return body if isinstance(body, dict) else None


def read_retry_after(value: bytes | None, *, now_at: int) -> int | None:
    """Read ``Retry-After``, seconds or an HTTP date, as 0 to 3,600,000 ms from now; ``None`` for nonsense."""
    if value is None or not value.isascii():
        return None
    text = value.decode("ascii").strip()
    if text.isdigit():
        wanted_ms = int(text[:_LONGEST_SECONDS]) * 1000
    else:
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=dt.UTC)
        wanted_ms = int(moment.timestamp() * 1000) - now_at
    return max(0, min(wanted_ms, LONGEST_RETRY_AFTER_MS))


def clean(text: object, *, token: str | None, longest: int) -> str | None:
    """Make foreign text fit for logs and events: one line, nothing invisible, no token.

    At most ``longest`` characters; ``None`` for what is no text, or has nothing left.
    """
    if not isinstance(text, str):
        return None
    if not text.isprintable():
        text = "".join(
            " " if character.isspace() else character * character.isprintable() for character in text
        )
    if token and token in text:
        text = text.replace(token, _TOKEN_MARK)
        if token in text:
            return None
    return text[:longest].strip() or None
