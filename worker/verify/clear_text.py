"""Finds secrets in bytes: many of them, in much, without looking for each in turn.

A secret is looked for as it is, and as base64, percent-encoded and JSON text of its own. Of each such form
four words of eight bytes near its end, where tokens differ most, stand in one set. What is searched is cut
into words at every fourth byte, so that one of the four falls on a cut, wherever the secret lies. Only where
a word is in the set, the whole form is looked for.
"""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote_from_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

_WORD: Final = 8
_STRIDE: Final = 4
# Bytes and not numbers: the low bits of numbers made of text are all alike, and so a set of them is slow.
_CUT: Final = re.compile(rb".{8}", re.DOTALL)
_SHORTEST: Final = _WORD + _STRIDE - 1
"""Shorter forms are looked for one by one."""


class Secrets:
    """A set of secrets that can be looked for."""

    def __init__(self, secrets: Iterable[bytes] = ()) -> None:
        self._words: set[bytes] = set()
        self._forms: dict[int, set[bytes]] = {}
        self._short: set[bytes] = set()
        self._count = 0
        for secret in secrets:
            self.add(secret)

    def __len__(self) -> int:
        return self._count

    def add(self, secret: bytes) -> None:
        """Look for this one, too."""
        self._count += 1
        for form in forms_of(secret):
            if len(form) < _SHORTEST:
                self._short.add(form)
                continue
            self._forms.setdefault(len(form), set()).add(form)
            for at in range(_STRIDE):
                end = len(form) - at
                self._words.add(form[end - _WORD : end])

    def within(self, content: bytes) -> bool:
        """Tell whether any of them stands in the content."""
        if self._short and any(form in content for form in self._short):
            return True
        if not self._words or len(content) < _SHORTEST:
            return False
        return any(
            not self._words.isdisjoint(_CUT.findall(content, at)) for at in range(0, _WORD, _STRIDE)
        ) and self._has(content)

    def _has(self, content: bytes) -> bool:
        return any(
            content[at : at + length] in forms
            for length, forms in self._forms.items()
            for at in range(len(content) - length + 1)
        )


def forms_of(secret: bytes) -> frozenset[bytes]:
    """Return a secret as it may be written down by mistake."""
    # Without the last group of base64: it depends on what follows.
    whole = secret[: len(secret) - len(secret) % 3]
    percent = quote_from_bytes(secret, safe="").encode()
    text = json.dumps(secret.decode("utf-8", "replace"))[1:-1].encode()
    found = {secret, base64.b64encode(whole), base64.urlsafe_b64encode(whole), percent, text}
    return frozenset(form for form in found if len(form) >= min(len(secret), _SHORTEST))
