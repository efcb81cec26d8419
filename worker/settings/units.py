"""Durations, sizes and other texts with a rule of their own: read into plain values, and written back.

Messages name the rule and never the value, which may be a secret in the wrong place.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60 * SECOND_MS
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

DURATION_MOST_MS: Final = 3_650 * DAY_MS
SIZE_MOST: Final = 1024 * GIB
PORT_MOST: Final = 65_535
PATH_MOST: Final = 4_096
DIGITS_MOST: Final = 20
NUMBER_MOST: Final = 10**15

_DURATION_UNITS: Final = {"d": DAY_MS, "h": HOUR_MS, "m": MINUTE_MS, "s": SECOND_MS, "ms": 1}
_SIZE_UNITS: Final = {"GiB": GIB, "MiB": MIB, "KiB": KIB, "B": 1}
_NUMBER_WITH_UNIT: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]*)")
_HOST: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_WHOLE: Final = re.compile(r"[0-9]{1,18}")
_DECIMAL: Final = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,15})?")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")

_DURATION_RULE: Final = (
    "is no duration: write a number and ms, s, m, h or d (as in 200ms, 5s, 10m), or seconds"
)
_SIZE_RULE: Final = "is no size: write a whole number and B, KiB, MiB or GiB (as in 64MiB), or bytes"


def parse_duration(value: object) -> int:
    """Return a duration in milliseconds from text with a unit, or from seconds.

    Raises `ValueError` if it is neither, negative, finer than a millisecond, or beyond ten years.
    """
    milliseconds = _amount(value, units=_DURATION_UNITS, bare=SECOND_MS, rule=_DURATION_RULE)
    if milliseconds != milliseconds.to_integral_value():
        raise ValueError("is finer than a millisecond: use whole milliseconds")
    if milliseconds > DURATION_MOST_MS:
        raise ValueError("is longer than 3650d")
    return int(milliseconds)


def format_duration(duration_ms: int) -> str:
    """Return the shortest text that `parse_duration` reads back as the same milliseconds."""
    if duration_ms == 0:
        return "0s"
    unit = next(name for name, size in _DURATION_UNITS.items() if duration_ms % size == 0)
    return f"{duration_ms // _DURATION_UNITS[unit]}{unit}"


def parse_size(value: object) -> int:
    """Return a size in bytes from text with a unit, or from bytes. Raises `ValueError` for anything else."""
    size = _amount(value, units=_SIZE_UNITS, bare=1, rule=_SIZE_RULE)
    if size != size.to_integral_value():
        raise ValueError("is no whole number of bytes")
    if size > SIZE_MOST:
        raise ValueError("is larger than 1024GiB")
    return int(size)


def format_size(size: int) -> str:
    """Return the shortest text that `parse_size` reads back as the same bytes."""
    if size == 0:
        return "0B"
    unit = next(name for name, scale in _SIZE_UNITS.items() if size % scale == 0)
    return f"{size // _SIZE_UNITS[unit]}{unit}"


def file_path(value: object) -> Path:
    """Return the path of a file. Raises `ValueError` for the file's content in the path's place."""
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value:
        raise ValueError("is no path: write the path of a file, as text")
    if "-----BEGIN" in value or _CONTROL.search(value) or len(value) > PATH_MOST:
        raise ValueError("looks like the content of a file: write it to a file and give the path")
    return Path(value)


def base_url(value: str) -> str:
    """Return the start of a URL: scheme, host, port and perhaps a path, without a slash at its end.

    Raises `ValueError` if it has anything else: user, password, query, fragment, blanks, escapes of a host.
    """
    if not value.isascii() or _CONTROL.search(value) or " " in value or "\\" in value:
        raise ValueError("is no URL: use ASCII without blanks, as in https://host.example:8443")
    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port
    except ValueError:
        # The standard library's own message quotes the value.
        raise ValueError("is no URL: check host and port, as in https://host.example:8443") from None
    if parts.scheme not in {"https", "http"} or not host:
        raise ValueError("is no URL: write https:// and a host, as in https://host.example:8443")
    if "@" in parts.netloc:
        raise ValueError("has a user or password in it: leave them out, calls are signed with keys")
    if "?" in value or "#" in value:
        raise ValueError("has a query or a fragment: leave it out, paths are set in `paths`")
    _checked_host(host)
    if port == 0 or parts.netloc.endswith(":"):
        raise ValueError("has no usable port: use 1 to 65535, or leave it out")
    return value.rstrip("/")


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address is this machine itself."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def host_and_port(value: str) -> str:
    """Return `host:port` as given, an IPv6 host in brackets. Raises `ValueError` for anything else."""
    host, colon, port = value.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) <= PORT_MOST:
        raise ValueError("is no host:port: write a host, a colon and a port from 1 to 65535")
    if host.startswith("[") and host.endswith("]") and ":" in host:
        _checked_host(host[1:-1])
    elif ":" in host:
        raise ValueError("has an IPv6 address without brackets: write it as in [::1]:9092")
    else:
        _checked_host(host)
    return value


def url_path(value: str) -> str:
    """Return a path as it goes on the wire and is signed, byte for byte. Raises `ValueError`."""
    if not value.startswith("/") or value.startswith("//"):
        raise ValueError("is no path: start it with one slash")
    if not value.isascii() or _CONTROL.search(value) or " " in value or "#" in value:
        raise ValueError("is no path: use ASCII without blanks and #, percent-encode the rest")
    return value


def plain_text(value: str) -> str:
    """Return text that is safe on one line: 1 to 256 characters, none of control, no blanks around."""
    if not value.strip() or value != value.strip():
        raise ValueError("is empty or has blanks around it")
    if _CONTROL.search(value) or len(value) > 256:  # noqa: PLR2004 - said in the message below
        raise ValueError("has control characters, or more than 256 characters")
    return value


def whole_number(value: object) -> int:
    """Return a whole number from a number or its digits. Raises `ValueError` for all else, as `true`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value)
    raise ValueError("is no whole number: write digits only, as in 12")


def decimal_number(value: object) -> float:
    """Return a number from a number or its text. Raises `ValueError` for all else, as `nan`."""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < NUMBER_MOST:
        return float(value)
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        return float(value)
    raise ValueError("is no number: write digits, with a point if need be, as in 12 or 0.5")


def _checked_host(host: str) -> None:
    if ":" in host:
        try:
            ip_address(host)
        except ValueError:
            raise ValueError("has no usable IPv6 address in it") from None
    elif not _HOST.fullmatch(host):
        raise ValueError("has no usable host: use letters, digits, '.', '-' and '_'")


def _amount(value: object, *, units: dict[str, int], bare: int, rule: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(rule)  # noqa: TRY004 - pydantic collects ValueError
    # repr of a float is the shortest text that means it: 0.2 stays 0.2.
    text = value if isinstance(value, str) else repr(value)
    match = _NUMBER_WITH_UNIT.fullmatch(text)
    if match is None or len(match[1]) > DIGITS_MOST or (match[2] and match[2] not in units):
        raise ValueError(rule)
    return Decimal(match[1]) * (units[match[2]] if match[2] else bare)


@dataclass(frozen=True, slots=True)
class Duration:
    """Marks a field as a duration in milliseconds, written with a unit, within bounds (texts, inclusive)."""

    at_least: str = "1ms"
    at_most: str = "3650d"

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read the value with `parse_duration` instead of pydantic's own integer."""
        return core_schema.no_info_plain_validator_function(self.read)

    def read(self, value: object) -> int:
        """Return milliseconds. Raises `ValueError` if the value is no duration or out of bounds."""
        duration_ms = parse_duration(value)
        if not parse_duration(self.at_least) <= duration_ms <= parse_duration(self.at_most):
            raise ValueError(f"is out of bounds: use {self.at_least} to {self.at_most}")
        return duration_ms


@dataclass(frozen=True, slots=True)
class Size:
    """Marks a field as a size in bytes, written with a unit, within bounds (texts, inclusive)."""

    at_least: str = "1B"
    at_most: str = "1024GiB"

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read the value with `parse_size` instead of pydantic's own integer."""
        return core_schema.no_info_plain_validator_function(self.read)

    def read(self, value: object) -> int:
        """Return bytes. Raises `ValueError` if the value is no size or out of bounds."""
        size = parse_size(value)
        if not parse_size(self.at_least) <= size <= parse_size(self.at_most):
            raise ValueError(f"is out of bounds: use {self.at_least} to {self.at_most}")
        return size
