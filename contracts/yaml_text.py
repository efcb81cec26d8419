"""Writes JSON-like values as YAML: just enough for a generated document, without a dependency."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

# Plain text that no YAML version can take for something else (a number, a date, a truth value, a comment).
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_.]*(?:[ -][A-Za-z0-9_.]+)*", re.ASCII)
_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})


def to_yaml(document: Mapping[str, Any]) -> str:
    """Return `document` (objects, arrays, text, numbers, truth values, None) as YAML in block style."""
    return "\n".join(_lines(document, indent=0)) + "\n"


def _lines(value: Mapping[str, Any] | list[Any], *, indent: int) -> Iterator[str]:
    blank = " " * indent
    if isinstance(value, Mapping):
        for name, member in value.items():
            if isinstance(member, Mapping | list) and member:
                yield f"{blank}{_scalar(name)}:"
                yield from _lines(member, indent=indent + 2)
            else:
                yield f"{blank}{_scalar(name)}: {_scalar(member)}"
        return
    for member in value:
        if isinstance(member, Mapping | list) and member:
            first, *rest = _lines(member, indent=indent + 2)
            yield f"{blank}- {first[indent + 2 :]}"
            yield from rest
        else:
            yield f"{blank}- {_scalar(member)}"


def _scalar(value: object) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    # Any other JSON scalar, and an empty container, is YAML as it is.
    return json.dumps(value, ensure_ascii=False)
