"""Foreign text made harmless: characters that command a terminal, or turn the text of a line round."""

import re
from typing import Final

_COMMANDING: Final = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters but for the line feed, marks of direction, half surrogate pairs."""


def harmless(text: str) -> str:
    """Return text for people: each such character is shown as U+FFFD."""
    return _COMMANDING.sub("\ufffd", text)


def harmless_json(text: str) -> str:
    """Return JSON that means the same, with each such character as the escape that JSON has for it."""
    return _COMMANDING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
