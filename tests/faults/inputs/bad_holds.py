"""Bad holds of every kind, each with what the worker must say as it ignores it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import orjson

HELD_CLIENT: Final = "client-held"
"""The `authClientId` whose calls the good hold stops."""
GOOD_HOLD: Final = "stands"


def hold(**changes: Any) -> bytes:
    """Return the value of a hold on one client, with these members otherwise."""
    good = {
        "scope": {"authClientId": HELD_CLIENT},
        "until": "2999-01-01T00:00:00Z",
        "by": "somebody",
        "why": "the test says so",
    }
    return orjson.dumps({name: member for name, member in (good | changes).items() if member is not None})


@dataclass(frozen=True, slots=True, kw_only=True)
class BadHold:
    """One record of the holds topic that is no hold."""

    name: str
    value: bytes
    says: str
    key: bytes | None = None
    """The hold's id; the name, if it is not given."""
    headers: tuple[tuple[bytes, bytes | None], ...] = ()

    @property
    def id_bytes(self) -> bytes:
        """The record's key."""
        return self.name.encode() if self.key is None else self.key


_NOT_AN_OBJECT: Final = "the value of a hold must be a JSON object in UTF-8"

BAD_HOLDS: Final = (
    BadHold(name="empty value", value=b"", says=_NOT_AN_OBJECT),
    BadHold(name="not JSON", value=b"hello", says=_NOT_AN_OBJECT),
    BadHold(name="not UTF-8", value=b'{"\xff":1}', says=_NOT_AN_OBJECT),
    BadHold(name="an array", value=b"[]", says=_NOT_AN_OBJECT),
    BadHold(name="100,000 arrays in each other", value=b"[" * 100_000 + b"]" * 100_000, says=_NOT_AN_OBJECT),
    BadHold(
        name="500 objects in each other",
        value=hold(scope=None)[:-1] + b',"scope":' + b'{"a":' * 500 + b"1" + b"}" * 500 + b"}",
        says="scope",
    ),
    BadHold(name="number for text", value=hold(by=7), says="by must be text"),
    BadHold(name="for ever", value=hold(until=None), says="until is required"),
    BadHold(
        name="until the year 9999", value=hold(until="9999-12-31T23:59:59Z"), says="until must be a moment"
    ),
    BadHold(name="on nothing", value=hold(scope={}), says="scope"),
    BadHold(name="900 kB of nothing", value=b"x" * 900_000, says=_NOT_AN_OBJECT),
    BadHold(name="id that is not UTF-8", key=b"\xff\xfe", value=b"hello", says=_NOT_AN_OBJECT),
    BadHold(
        name="header name that is not UTF-8", value=b"hello", says=_NOT_AN_OBJECT, headers=((b"\xff", b"v"),)
    ),
    BadHold(name="the good one's id", key=GOOD_HOLD.encode(), value=b"hello", says=_NOT_AN_OBJECT),
)
