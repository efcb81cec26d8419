"""Showing the settings: each leaf with its value and where it came from, and a complete example file."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import orjson
from pydantic import SecretStr

from worker.settings.load import Loaded
from worker.settings.outline import Leaf, branches, leaves, value_of
from worker.settings.sources import Source

_NOT_CONFIGURED: Final = "left out: its steps are never taken"
_HEAD: Final = """\
# Settings of the unbinding worker: every name, with its default.
#
# A line that begins with "#" and a name is the default, or an example where there is none: take the "#" away
# to set it. Every leaf can come from the environment instead, which wins: UNBINDING_, then the dotted name in
# capitals with "__" for ".", as in UNBINDING_KAFKA__BOOTSTRAP_SERVERS; lists and maps as JSON.
# Durations: a number with ms, s, m, h or d, or seconds. Sizes: a number with B, KiB, MiB or GiB, or bytes.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One leaf as it may be shown to anybody."""

    name: str
    value: object
    """Text, number, list or map as written in the file; the fingerprint of a secret; `None` for none."""
    source: Source
    origin: str | None
    """`file:line` or the environment variable; `None` for a default."""
    sentence: str
    secret: bool


def describe(loaded: Loaded) -> tuple[Row, ...]:
    """Return a row for each leaf, in the order of the documents; a section that is left out is one row."""
    rows: list[Row] = []
    left_out = _left_out(loaded)
    told: set[str] = set()
    for name, leaf in leaves().items():
        section = next((branch for branch in left_out if name.startswith(f"{branch}.")), None)
        if section is None:
            rows.append(_row(leaf, loaded))
        elif section not in told:
            told.add(section)
            rows.append(
                Row(
                    name=section,
                    value=None,
                    source=Source.DEFAULT,
                    origin=None,
                    sentence=f"{branches()[section].sentence} {_NOT_CONFIGURED}".replace(". left", "; left"),
                    secret=False,
                )
            )
    return tuple(rows)


def example() -> str:
    """Return a complete, commented TOML file. As it is it loads to the defaults."""
    blocks = [_HEAD, *(_example_leaf(leaf) for name, leaf in leaves().items() if "." not in name)]
    for section, branch in branches().items():
        inside = [leaf for name, leaf in leaves().items() if name.rpartition(".")[0] == section]
        if not inside:
            continue
        mark = "#" if branch.optional else ""
        blocks.append(f"\n# {branch.sentence}\n{mark}[{section}]\n")
        blocks.extend(_example_leaf(leaf) for leaf in inside)
    return "\n".join(blocks)


def fingerprint(secret: str) -> str:
    """Return a short text that is equal for equal secrets, to compare two workers by.

    scrypt makes each guess dear, and 32 bits leave too many candidates to be sure of one.
    """
    digest = hashlib.scrypt(secret.encode(), salt=b"unbinding settings", n=2**14, r=8, p=1, dklen=4)
    return f"fingerprint:{digest.hex()}"


def toml_value(value: object) -> str:
    """Return a plain value as TOML on one line. Raises `TypeError` for what settings never are."""
    match value:
        case bool():
            raise TypeError("no setting is a truth value")
        case str():
            # JSON text is a TOML basic string, but for DEL.
            return orjson.dumps(value).decode().replace("\x7f", "\\u007f")
        case int() | float():
            return repr(value)
        case list():
            return f"[{', '.join(toml_value(item) for item in value)}]"
        case Mapping():
            if not value:
                return "{}"
            inside = ", ".join(f"{toml_value(str(key))} = {toml_value(item)}" for key, item in value.items())
            return f"{{ {inside} }}"
    raise TypeError(f"no setting is a {type(value).__name__}")


def _left_out(loaded: Loaded) -> tuple[str, ...]:
    counterparts = loaded.settings.counterparts
    return tuple(
        f"counterparts.{name}"
        for name in type(counterparts).model_fields
        if getattr(counterparts, name) is None
    )


def _row(leaf: Leaf, loaded: Loaded) -> Row:
    value = value_of(loaded.settings, leaf)
    given = loaded.given.get(leaf.name)
    return Row(
        name=leaf.name,
        value=fingerprint(value.get_secret_value()) if isinstance(value, SecretStr) else leaf.plain(value),
        source=loaded.source(leaf.name),
        origin=given.origin if given else None,
        sentence=leaf.sentence,
        secret=leaf.secret,
    )


def _example_leaf(leaf: Leaf) -> str:
    key = leaf.name.rpartition(".")[2]
    note = " Needed." if leaf.required else " No default." if leaf.default is None else ""
    value = leaf.example if leaf.default is None else leaf.default
    return f"# {leaf.sentence}{note}\n#{key} = {toml_value(leaf.plain(value))}"
