"""Strategies that know the grammar and then break it: mutated JSON, headers, bytes and texts.

A sample that is right is changed in a few places: members go, come twice, change place or type, grow deep or
long; then the text is encoded, perhaps in a strange way, and its bytes are changed in a few places, too.
"""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Headers = tuple[tuple[str, bytes], ...]
Value = TypeVar("Value")


class Draw(Protocol):
    """What hypothesis gives a composite strategy to draw from others."""

    def __call__(self, strategy: st.SearchStrategy[Value], /) -> Value:
        """Return one of the strategy's values."""
        ...


CONTROL: Final = "\x00\x07\x08\x1b\x7f\x85\x9b\u2028\u2029"
BIDI: Final = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
HALVES: Final = "\ud800\udfff"
ODD_TEXTS: Final = (
    "",
    " ",
    "\x00",
    "a\nb",
    "\ufeffbom",
    "\ud800",
    "\udfff\ud800",
    "\U0001f600" * 70,
    "e\u0301" * 40,
    "\u202egnp.exe",
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x9b31m",
    "[red]text[/red]",
    "[/]",
    "[link=https://x.example]y[/link]",
    "%s%n{}{0}${x}",
    "'; --",
    "../../etc/passwd",
    "x" * 65,
    "x" * 129,
    "x" * 257,
    "x" * 5_000,
    "null",
    "NaN",
    "1e999",
    "true",
    "0",
    "\u0661\u0662",
)
ODD_NUMBERS: Final = (
    0,
    -1,
    1,
    2**31,
    2**53 + 1,
    2**63 - 1,
    2**63,
    2**64,
    10**30,
    -(2**63),
    0.1,
    -0.0,
    1e308,
    float("inf"),
    float("nan"),
)
ODD_MOMENTS: Final = (
    "1969-12-31T23:59:59Z",
    "1970-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999999Z",
    "9998-12-31T00:00:00+14:00",
    "2025-02-30T00:00:00Z",
    "2025-03-01T24:00:00Z",
    "2025-03-01T09:15:60+08:00",
    "2025-03-01T09:15:27",
    "2025-03-01t09:15:27.123456789z",
    "2025-03-01T09:15:27+23:59",
    "2025-03-01T09:15:27-99:99",
    "0000-00-00T00:00:00Z",
)


def odd_text() -> st.SearchStrategy[str]:
    """Texts that parsers, terminals and databases trip over, and any others."""
    return (
        st.sampled_from(ODD_TEXTS)
        | st.text(max_size=30)
        | st.text(alphabet=st.sampled_from(CONTROL + BIDI + HALVES + "ab[]/"), max_size=12)
    )


def odd_scalar() -> st.SearchStrategy[Any]:
    """Values of no depth, of any type that JSON has and some that it has not."""
    return st.one_of(
        st.none(), st.booleans(), st.sampled_from(ODD_NUMBERS), st.sampled_from(ODD_MOMENTS), odd_text()
    )


def odd_value() -> st.SearchStrategy[Any]:
    """Any JSON value, small."""
    return st.recursive(
        odd_scalar(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=5,
    )


def _places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(tree, dict):
        for name, content in tree.items():
            found += _places(content, (*path, name))
    elif isinstance(tree, list):
        for index, content in enumerate(tree):
            found += _places(content, (*path, index))
    return found


def _holder(tree: Any, path: tuple[Any, ...]) -> Any:
    for part in path[:-1]:
        tree = tree[part]
    return tree


def _deep(content: Any, levels: int) -> Any:
    for level in range(levels):
        content = [content] if level % 2 else {"n": content}
    return content


_CHANGES: Final = ("delete", "replace", "retype", "swap", "nest", "cut", "rename", "add", "odd")


def _change(draw: Draw, tree: Any) -> None:
    """Change one place of the tree."""
    places = _places(tree)
    if not places:
        return
    path = draw(st.sampled_from(places))
    holder, name = _holder(tree, path), path[-1]
    content = holder[name]
    match draw(st.sampled_from(_CHANGES)):
        case "delete":
            del holder[name]
        case "replace":
            holder[name] = draw(odd_scalar())
        case "odd":
            holder[name] = draw(odd_value())
        case "retype":
            retyped: list[Callable[[Any], Any]] = [str, lambda it: [it], lambda it: {"value": it}, bool, len]
            change = draw(st.sampled_from(retyped))
            holder[name] = change(content) if change is not len or hasattr(content, "__len__") else 0
        case "swap":
            other = draw(st.sampled_from(places))
            there = _holder(tree, other)
            if other[: len(path)] != path and path[: len(other)] != other:
                holder[name], there[other[-1]] = there[other[-1]], content
        case "nest":
            holder[name] = _deep(content, draw(st.sampled_from([1, 2, 31, 32, 33, 60, 300])))
        case "cut":
            if isinstance(content, str):
                holder[name] = content[: draw(st.integers(0, max(0, len(content) - 1)))]
            else:
                holder[name] = None
        case "rename":
            if isinstance(holder, dict):
                del holder[name]
                holder[draw(st.sampled_from([str(name).upper(), f"{name} ", f"{name}s"]) | odd_text())] = (
                    content
                )
        case "add":
            if isinstance(holder, dict):
                holder[draw(odd_text())] = draw(odd_scalar())


@st.composite
def changed(draw: Draw, sample: Any, *, most: int = 4) -> Any:
    """Return the sample, changed in up to ``most`` places (in none, now and then)."""
    tree = {"it": copy.deepcopy(sample)}
    for _ in range(draw(st.integers(0, most))):
        _change(draw, tree["it"] if isinstance(tree.get("it"), dict | list) else tree)
    return tree.get("it")


def json_text(tree: Any, *, ascii_only: bool = True) -> str:
    """Return JSON as Python writes it: with half surrogate pairs, NaN and numbers beyond measure."""
    return json.dumps(tree, ensure_ascii=ascii_only, skipkeys=True)


_WAYS: Final = ("utf-8", "utf-8", "utf-8", "ascii", "bom", "utf-16", "latin", "twice", "spaced", "null")


@st.composite
def encoded(draw: Draw, tree: Any) -> bytes:
    """Return the tree as bytes: nearly always JSON, now and then no UTF-8 or not quite JSON."""
    text = json_text(tree)
    match draw(st.sampled_from(_WAYS)):
        case "utf-8":
            return json_text(tree, ascii_only=False).encode("utf-8", "surrogatepass")
        case "bom":
            return b"\xef\xbb\xbf" + text.encode()
        case "utf-16":
            return text.encode("utf-16")
        case "latin":
            return json_text(tree, ascii_only=False).encode("latin-1", "replace")
        case "twice" if text.startswith("{") and isinstance(tree, dict) and tree:
            name = draw(st.sampled_from(sorted(map(str, tree))))
            again = json.dumps(name) + ": " + json_text(draw(odd_scalar()))
            front = draw(st.booleans())
            return (f"{{{again}, {text[1:]}" if front else f"{text[:-1]}, {again}}}").encode()
        case "spaced":
            return f" \t\n{text}\r\n ".encode()
        case "null":
            return text.encode() + b"\x00"
    return text.encode()


_TEARS: Final = ("cut", "delete", "repeat", "insert", "flip", "swap")
_SPLINTERS: Final = (
    b"\x00",
    b"\xff\xfe",
    b"{",
    b"}",
    b'"',
    b"\\",
    b"\\ud800",
    b"[" * 40,
    b"9" * 400,
    b"\n",
    b",",
)


@st.composite
def torn(draw: Draw, whole: bytes, *, most: int = 3) -> bytes:
    """Return the bytes with up to ``most`` places cut, deleted, repeated, inserted, flipped or swapped."""
    raw = bytearray(whole)
    for _ in range(draw(st.integers(0, most))):
        at = draw(st.integers(0, max(0, len(raw) - 1)))
        end = min(len(raw), at + draw(st.integers(1, 20)))
        match draw(st.sampled_from(_TEARS)):
            case "cut":
                del raw[at:]
            case "delete":
                del raw[at:end]
            case "repeat":
                raw[at:at] = raw[at:end]
            case "insert":
                raw[at:at] = draw(st.sampled_from(_SPLINTERS) | st.binary(max_size=6))
            case "flip" if raw:
                raw[at] ^= draw(st.integers(1, 255))
            case "swap" if raw:
                other = draw(st.integers(0, len(raw) - 1))
                raw[at], raw[other] = raw[other], raw[at]
    return bytes(raw)


@st.composite
def value_of(draw: Draw, sample: Any, *, most: int = 4) -> bytes:
    """Return a value that began as this sample: changed as a tree, encoded, and rarely torn as bytes."""
    raw = draw(encoded(draw(changed(sample, most=most))))
    return draw(torn(raw)) if draw(st.integers(0, 3)) == 0 else raw


_NUMBERS_FORGED: Final = (b"0", b"-1", b"9" * 30, b"1.5", b"", b"\xff", b"01", b" 1")


@st.composite
def headers_of(draw: Draw, sample: Sequence[tuple[str, bytes]], *, more: Sequence[str] = ()) -> Headers:
    """Return headers that began as these; ``more`` are names that may be forged."""
    found = list(sample)
    names = [name for name, _ in found] or ["ce_id"]
    for _ in range(draw(st.integers(0, 3))):
        match draw(st.sampled_from(("delete", "twice", "value", "name", "forge", "order", "crowd", "tear"))):
            case "delete" if found:
                del found[draw(st.integers(0, len(found) - 1))]
            case "twice":
                found.append((draw(st.sampled_from(names)), draw(header_value())))
            case "value" if found:
                at = draw(st.integers(0, len(found) - 1))
                found[at] = (found[at][0], draw(header_value()))
            case "tear" if found:
                at = draw(st.integers(0, len(found) - 1))
                found[at] = (found[at][0], draw(torn(found[at][1])))
            case "name" if found:
                at = draw(st.integers(0, len(found) - 1))
                name = draw(
                    st.sampled_from([found[at][0].upper(), f"ce_{found[at][0]}", "ce_"]) | header_name()
                )
                found[at] = (name, found[at][1])
            case "forge":
                name = draw(st.sampled_from(tuple(more) or ("ce_extra",)) | header_name())
                found.append((name, draw(header_value())))
            case "order":
                found = list(draw(st.permutations(found)))
            case "crowd":
                found += [(f"ce_crowd{n}", b"x" * 900) for n in range(draw(st.integers(1, 6)))]
    return tuple(found)


def header_name() -> st.SearchStrategy[str]:
    """Names as Kafka hands them over: UTF-8, or with replacement characters."""
    return st.text(max_size=12).map(_no_halves) | st.text(max_size=6).map(
        lambda name: f"ce_{_no_halves(name)}"
    )


def header_value() -> st.SearchStrategy[bytes]:
    """Values of headers: texts, numbers, bytes of any kind, huge ones."""
    return (
        odd_text().map(lambda text: text.encode("utf-8", "surrogatepass"))
        | st.binary(max_size=20)
        | st.sampled_from(_NUMBERS_FORGED)
        | st.sampled_from(
            [b"x" * 4_097, b"application/cloudevents+json", b"application/cloudevents-batch+json"]
        )
    )


def _no_halves(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
