"""Where settings come from: the TOML file and the environment, read into leaves that know their origin."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Final

import orjson

from worker.settings.errors import Problem
from worker.settings.outline import (
    CONFIG_VARIABLE,
    ENV_DELIMITER,
    ENV_PREFIX,
    Leaf,
    branches,
    leaves,
    variable_of,
)

_FILE_MOST: Final = 4 * 1024 * 1024
_SEE_ALL: Final = "`unbinding settings --example` prints all names"
_HEADER: Final = re.compile(r"\s*\[([^\[\]]+)\]\s*(?:#.*)?")
_ASSIGNMENT: Final = re.compile(r"\s*([A-Za-z0-9_.\" -]+?)\s*=")
_AT_LINE: Final = re.compile(r" \(at line ([0-9]+), column [0-9]+\)")
# What Kubernetes puts into every pod for a Service whose name begins with "unbinding".
_SERVICE_LINK: Final = re.compile(
    r"_(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)\w*)?)$"
)


class _TooLarge(ValueError):
    """Nobody writes a settings file of this size."""


class Source(StrEnum):
    """Where the value of a leaf came from."""

    DEFAULT = "default"
    """Nobody set it."""
    FILE = "file"
    """The TOML file."""
    ENVIRONMENT = "environment"
    """An environment variable; it wins over the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """One value as it was given. Its text may be a secret: it is kept out of `repr`."""

    value: object = field(repr=False)
    source: Source
    origin: str
    """`file:line`, or the name of the environment variable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a source gave, by leaf, and what was wrong with it."""

    given: Mapping[str, Given]
    problems: tuple[Problem, ...]
    refused: frozenset[str] = frozenset()
    """Leaves that were given but could not be read: they are not missing."""


def read_file(path: Path) -> Reading:
    """Read a TOML file; whatever is wrong with it is in the reading, nothing is raised."""
    try:
        text = _content(path).decode("utf-8-sig")
        table = tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        return Reading(given={}, problems=(_unusable(path, error),))
    lines = _lines(text)
    given: dict[str, Given] = {}
    problems: list[Problem] = []
    for name, value in _flattened(table):
        origin = f"{path}:{lines[name]}" if name in lines else str(path)
        if name in leaves():
            given[name] = Given(value=value, source=Source.FILE, origin=origin)
        elif name in branches():
            problems.append(_not_a_leaf(name, origin, remedy=f"write its leaves under [{name}]"))
        else:
            problems.append(
                Problem(
                    name=shown(name),
                    wrong="is no setting",
                    origin=origin,
                    remedy=_nearest(name, [*leaves(), *branches()]),
                )
            )
    return Reading(given=given, problems=tuple(problems))


def _content(path: Path) -> bytes:
    """Return what a file, or a pipe, holds. Raises OSError, and _TooLarge."""
    with path.open("rb") as opened:
        content = opened.read(_FILE_MOST + 1)
    if len(content) > _FILE_MOST:
        raise _TooLarge
    return content


def read_environment(environ: Mapping[str, str]) -> Reading:
    """Read all variables with our prefix; what is wrong with them is in the reading, nothing is raised."""
    given: dict[str, Given] = {}
    problems: list[Problem] = []
    refused: set[str] = set()
    for variable in sorted(environ):
        if not variable.startswith(ENV_PREFIX) or variable == CONFIG_VARIABLE:
            continue
        name = variable.removeprefix(ENV_PREFIX).lower().replace(ENV_DELIMITER, ".")
        leaf = leaves().get(name)
        if leaf is None or variable != leaf.variable:
            problems.append(_unknown_variable(variable, name))
            continue
        try:
            value = _from_text(leaf, environ[variable])
        except ValueError as error:
            refused.add(name)
            problems.append(Problem(name=name, wrong=str(error), origin=variable, remedy=how_to(leaf)))
        else:
            given[name] = Given(value=value, source=Source.ENVIRONMENT, origin=variable)
    return Reading(given=given, problems=tuple(problems), refused=frozenset(refused))


def how_to(leaf: Leaf) -> str:
    """Return what to write for a leaf: its sentence, and an example that is right."""
    sample = leaf.plain(leaf.default) if leaf.default not in (None, {}, ()) else leaf.example
    if leaf.secret or sample is None or sample == "":
        return leaf.sentence
    text = sample if isinstance(sample, str) else orjson.dumps(sample).decode()
    return f"{leaf.sentence} Example: {text}"


def shown(name: str) -> str:
    """Return a foreign name fit for a terminal: one line, printable, at most 80 characters."""
    return "".join(char if char.isprintable() else "?" for char in name[:80]) or '""'


def _from_text(leaf: Leaf, text: str) -> object:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("is not UTF-8") from None
    if not text.strip():
        raise ValueError("is set but empty: unset the variable to have the default")
    if not leaf.structured or text.lstrip()[0] not in "[{":
        return text
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        # The decoder's own message has no value in it, but its `doc` has: break the chain.
        raise ValueError(f"is no JSON (line {error.lineno}, column {error.colno})") from None


def _unknown_variable(variable: str, name: str) -> Problem:
    if name in branches():
        return _not_a_leaf(name, variable, remedy=f"set its leaves, as in {variable}{ENV_DELIMITER}…")
    if _SERVICE_LINK.search(variable):
        remedy = "Kubernetes made it for a Service of this name: set `enableServiceLinks: false` for the pod"
    else:
        remedy = _nearest(variable.upper(), [variable_of(leaf) for leaf in leaves()])
    return Problem(name=shown(variable), wrong="is no setting", origin="environment", remedy=remedy)


def _not_a_leaf(name: str, origin: str, *, remedy: str) -> Problem:
    return Problem(name=name, wrong="is a section and has no value of its own", origin=origin, remedy=remedy)


def _nearest(name: str, names: list[str]) -> str:
    near = get_close_matches(name, names, n=1)
    # A right leaf in the wrong section is closer to what was meant than letters alone can tell.
    last = name.rpartition(".")[2]
    same = [candidate for candidate in names if candidate.rpartition(".")[2] == last] if not near else []
    guess = near or same[:1]
    return f"did you mean `{guess[0]}`? {_SEE_ALL}" if guess else f"remove it; {_SEE_ALL}"


def _flattened(table: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in table.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and name in branches():
            yield from _flattened(value, f"{name}.")
        else:
            yield name, value


def _unusable(path: Path, error: Exception) -> Problem:
    origin = str(path)
    match error:
        case FileNotFoundError():
            wrong, remedy = "does not exist", "check --config and UNBINDING_CONFIG"
        case OSError():
            wrong, remedy = f"cannot be read: {error.strerror}", "check what it is and who may read it"
        case tomllib.TOMLDecodeError():
            line = _AT_LINE.search(str(error))
            origin = f"{path}:{line[1]}" if line else origin
            wrong, remedy = "is no TOML", "check the line, and those before it, for quotes, brackets and `=`"
        case UnicodeDecodeError():
            wrong, remedy = f"is not UTF-8 at byte {error.start}", "save it as UTF-8"
        case _TooLarge():
            wrong, remedy = f"is larger than {_FILE_MOST} bytes", "check that it is the right path"
        case RecursionError():
            wrong, remedy = "cannot be read: its tables are nested too deep", "flatten it"
        case _:
            # A number with more digits than Python converts: the parser lets that error through.
            wrong, remedy = "is no TOML: it has a number beyond measure", "write it with fewer digits"
    return Problem(name="the settings file", wrong=wrong, origin=origin, remedy=remedy)


def _lines(text: str) -> dict[str, int]:
    """Find the line of each name, good enough to show: the parser itself keeps no positions."""
    found: dict[str, int] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.fullmatch(line):
            section = _bare(header[1])
            found.setdefault(section, number)
        elif assignment := _ASSIGNMENT.match(line):
            name = _bare(assignment[1])
            found.setdefault(f"{section}.{name}" if section else name, number)
    return found


def _bare(name: str) -> str:
    return ".".join(part.strip().strip('"') for part in name.split("."))
