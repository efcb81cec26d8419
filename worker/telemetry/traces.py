"""Trace context that is carried on, never made: W3C `traceparent` and `tracestate`, checked first."""

import re
from collections.abc import Iterable
from typing import Final

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
TRACESTATE_MOST: Final = 512
MEMBERS_MOST: Final = 32

# W3C Trace Context, level 1: 3.2 and 3.3. A later version may have more members behind the four.
_TRACEPARENT: Final = re.compile(
    r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}((?:-[!-~]{1,128})?)"
)
_KEY: Final = r"[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13}"
_VALUE: Final = r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
_MEMBER: Final = re.compile(rf"(?P<key>{_KEY})=(?:{_VALUE})")


def valid_traceparent(value: str) -> bool:
    """Tell whether a text is a `traceparent` (W3C Trace Context, 3.2)."""
    match = _TRACEPARENT.fullmatch(value)
    if match is None:
        return False
    version, trace_id, parent_id, rest = match.groups()
    return (
        version != "ff"
        and set(trace_id) != {"0"}
        and set(parent_id) != {"0"}
        and (version != "00" or not rest)
    )


def valid_tracestate(value: str) -> bool:
    """Tell whether a text is a `tracestate` (W3C Trace Context, 3.3) of at most 512 characters."""
    if len(value) > TRACESTATE_MOST:
        return False
    members = [member.strip(" \t") for member in value.split(",")]
    named = [member for member in members if member]
    matches = [_MEMBER.fullmatch(member) for member in named]
    keys = {match["key"] for match in matches if match is not None}
    return 0 < len(named) <= MEMBERS_MOST and len(keys) == len(named)


def trace_headers(headers: Iterable[tuple[str, bytes | None]]) -> tuple[tuple[str, bytes], ...]:
    """Return the trace context of a record's headers, fit to be sent on; empty without a valid one.

    Headers are untrusted input. A `tracestate` means nothing without exactly one valid `traceparent`.
    """
    parents: list[str] = []
    states: list[str] = []
    for name, value in headers:
        found = {TRACEPARENT: parents, TRACESTATE: states}.get(name)
        if found is not None:
            found.append((value or b"").decode("ascii", "replace"))
    if len(parents) != 1 or not valid_traceparent(parents[0]):
        return ()
    carried = [(TRACEPARENT, parents[0].encode())]
    state = ",".join(states)
    if states and valid_tracestate(state):
        carried.append((TRACESTATE, state.encode()))
    return tuple(carried)
