"""The time text of a signed message, read only to see how far the clocks are apart.

For signing and verifying the text is opaque. No document names an allowed skew: a receiver of requests may
refuse beyond a limit of its own; a response is never refused for its time, only logged.
"""

from __future__ import annotations

import datetime as dt

from worker.signing.errors import SignatureMalformed, shown

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND = dt.timedelta(milliseconds=1)
_LONGEST_NUMBER = 15


def read_time(text: str) -> int:
    """Read Request-Time, Response-Time, ``reqTime`` or ``respTime`` as milliseconds since the epoch.

    Takes ISO 8601 with an offset (Alipay+, AlipayHK) and epoch milliseconds (Antom's newer edition).
    Raises SignatureMalformed.
    """
    if text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER:
        return int(text)
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise SignatureMalformed(
            f"time {shown(text)} is neither ISO 8601 with an offset nor epoch milliseconds"
        )
    return (moment - _EPOCH) // _MILLISECOND


def skew_ms(text: str, *, now_at: int) -> int:
    """Tell by how many milliseconds the message's time lies ahead of ``now_at`` (negative: behind it).

    Raises SignatureMalformed for a text that is no time.
    """
    return read_time(text) - now_at
