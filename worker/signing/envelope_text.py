"""A small scanner for the envelope ``{"request": {…}, "signature": "…"}``: finds the bytes that were signed.

A parsed and rebuilt text is not the signed text, and a regular expression stops at the first brace inside a
string; so the outer object is walked byte by byte, and only there. Source: AlipayHK "Verify the signature".
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from worker.signing.errors import SignatureMalformed, SignatureMissing

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIGNATURE: Final = "signature"

# Possessive all through: no input, however odd, makes these go back.
_BLANKS: Final = re.compile(rb"[ \t\r\n]*+")
_STRING_BODY: Final = rb'"[^"\\\x00-\x1f]*+(?:\\[^\x00-\x1f][^"\\\x00-\x1f]*+)*+"'
_STRING: Final = re.compile(_STRING_BODY)
_SCALAR: Final = re.compile(rb"true|false|null|-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+")
_TO_BRACKET: Final = re.compile(rb'(?:[^"{}\[\]]++|' + _STRING_BODY + rb")*+")
_CLOSED_BY: Final = {b"{": b"}", b"[": b"]"}


class Member(StrEnum):
    """Which member of the outer object is signed."""

    REQUEST = "request"
    RESPONSE = "response"


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """An envelope taken apart; nothing in it is verified yet."""

    member: Member
    inner: bytes = field(repr=False)
    """The signed text: from the member's opening brace to its closing brace, exactly as it came."""
    signature: str = field(repr=False)
    """The text of the member ``signature``, JSON escapes undone, still Base64."""


def read_envelope(message: bytes, *, member: Member) -> Envelope:
    """Find the signed text and the signature in a raw message.

    The two members may come in either order, with blanks and beside others; each must come once, and
    nothing may follow the outer object. Raises SignatureMissing without a ``signature``, else
    SignatureMalformed.
    """
    inner: bytes | None = None
    signature: str | None = None
    for name, start, end in _outer_members(message):
        if name == member.value:
            if inner is not None:
                raise SignatureMalformed(f"the envelope has the member {name!r} twice")
            inner = message[start:end]
            if not inner.startswith(b"{"):
                raise SignatureMalformed(f"the envelope's member {name!r} is not an object")
        elif name == _SIGNATURE:
            if signature is not None:
                raise SignatureMalformed("the envelope has the member 'signature' twice")
            signature = _signature_text(message[start:end])
    if inner is None:
        raise SignatureMalformed(f"the envelope has no member {member.value!r}")
    if not signature:
        raise SignatureMissing("the envelope has no member 'signature', or an empty one")
    return Envelope(member=member, inner=inner, signature=signature)


def has_signature_member(body: bytes) -> bool:
    """Tell whether a body is one JSON object with an outer member ``signature``."""
    try:
        return any([name == _SIGNATURE for name, _, _ in _outer_members(body)])  # noqa: C419 - walk to the very end
    except SignatureMalformed:
        return False


def _outer_members(message: bytes) -> Iterator[tuple[str, int, int]]:
    """Yield each outer member's name and its value's start and end; exhaust it: the end is checked last."""
    position = _expect(message, _blanks(message, 0), b"{")
    position = _blanks(message, position)
    if message[position : position + 1] == b"}":
        position += 1
    else:
        while True:
            name_end = _string_end(message, position)
            name = _unescape(message[position:name_end])
            start = _blanks(message, _expect(message, _blanks(message, name_end), b":"))
            end = _value_end(message, start)
            yield name, start, end
            position = _blanks(message, end)
            if message[position : position + 1] == b"}":
                position += 1
                break
            position = _blanks(message, _expect(message, position, b","))
    if _blanks(message, position) != len(message):
        raise SignatureMalformed(f"the envelope goes on after its closing brace, at byte {position}")


def _value_end(message: bytes, start: int) -> int:
    first = message[start : start + 1]
    if first == b'"':
        return _string_end(message, start)
    if first in _CLOSED_BY:
        return _container_end(message, start)
    scalar = _SCALAR.match(message, start)
    if scalar is None:
        raise SignatureMalformed(f"the envelope has no JSON value at byte {start}")
    return scalar.end()


def _container_end(message: bytes, start: int) -> int:
    """Return the offset after the bracket that closes the one at ``start``; those in strings do not count."""
    open_brackets: list[bytes] = []
    position = start
    while True:
        skipped = _TO_BRACKET.match(message, position)
        position = skipped.end() if skipped else position
        mark = message[position : position + 1]
        if mark in _CLOSED_BY:
            open_brackets.append(_CLOSED_BY[mark])
        elif not mark or mark == b'"':
            raise SignatureMalformed(f"the envelope is cut off: the value at byte {start} has no end")
        elif open_brackets.pop() != mark:
            raise SignatureMalformed(f"the envelope closes the wrong bracket at byte {position}")
        position += 1
        if not open_brackets:
            return position


def _string_end(message: bytes, start: int) -> int:
    string = _STRING.match(message, start)
    if string is None:
        raise SignatureMalformed(f"the envelope has no complete string at byte {start}")
    return string.end()


def _blanks(message: bytes, position: int) -> int:
    blanks = _BLANKS.match(message, position)
    return blanks.end() if blanks else position


def _expect(message: bytes, position: int, mark: bytes) -> int:
    if message[position : position + 1] != mark:
        raise SignatureMalformed(f"the envelope has no {mark.decode('ascii')!r} at byte {position}")
    return position + 1


def _signature_text(value: bytes) -> str:
    if not value.startswith(b'"'):
        raise SignatureMalformed("the envelope's member 'signature' is not a string")
    return _unescape(value)


def _unescape(string: bytes) -> str:
    """Read a JSON string; an escaped slash, or an escaped letter of a name, is what it stands for."""
    try:
        return str(json.loads(string)) if b"\\" in string else string[1:-1].decode("utf-8")
    except ValueError:
        raise SignatureMalformed("the envelope has a name or a signature that is not a JSON string") from None
