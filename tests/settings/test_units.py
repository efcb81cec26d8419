"""Durations, sizes and other texts with a rule of their own."""

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.settings.units import (
    DURATION_MOST_MS,
    SIZE_MOST,
    base_url,
    decimal_number,
    file_path,
    format_duration,
    format_size,
    host_and_port,
    is_loopback,
    parse_duration,
    parse_size,
    plain_text,
    url_path,
    whole_number,
)

if TYPE_CHECKING:
    from collections.abc import Callable

READERS: "list[Callable[[str], object]]" = [
    parse_duration,
    parse_size,
    base_url,
    decimal_number,
    file_path,
    host_and_port,
    plain_text,
    url_path,
    whole_number,
]


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [
        ("200ms", 200),
        ("5s", 5_000),
        ("10m", 600_000),
        ("24h", 86_400_000),
        ("7d", 604_800_000),
        ("1.5s", 1_500),
        ("5 s", 5_000),
        ("5", 5_000),
        (5, 5_000),
        (0.2, 200),
        (0, 0),
    ],
)
def test_a_duration_is_a_number_with_a_unit_or_seconds(text: object, expected_ms: int) -> None:
    """A number with a unit, or seconds without one, is read as exact milliseconds."""
    assert parse_duration(text) == expected_ms


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "s", "-5s", "+5s", "5 minutes", "5S", "5M", "1h30m", "1e3s", "\u0665s", "0x5s", "5s\n"),
        *("0.5ms", "0.0001", "3651d", "nan", "inf", "9" * 5_000, True, None, [], {}, b"5s"),
        *(float("nan"), float("inf"), -1, -0.5, 1e300, 10**400),
    ],
)
def test_what_is_no_duration_is_refused(text: object) -> None:
    """Negative, finer than a millisecond, endless, with an unknown unit, or no text at all: refused."""
    with pytest.raises(ValueError, match=r"^(is|has) "):
        parse_duration(text)


@given(st.integers(min_value=0, max_value=DURATION_MOST_MS))
def test_a_duration_is_written_so_that_it_reads_back(duration_ms: int) -> None:
    """What is written for a duration reads back as the same milliseconds."""
    assert parse_duration(format_duration(duration_ms)) == duration_ms


@given(
    st.integers(min_value=0, max_value=1_000),
    st.sampled_from([("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)]),
)
def test_a_unit_means_what_it_says(number: int, unit: tuple[str, int]) -> None:
    """A duration is its number times its unit."""
    name, size_ms = unit
    assert parse_duration(f"{number}{name}") == number * size_ms


@given(st.integers(min_value=0, max_value=SIZE_MOST))
def test_a_size_is_written_so_that_it_reads_back(size: int) -> None:
    """What is written for a size reads back as the same bytes."""
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    ("text", "expected"),
    [("64MiB", 67_108_864), ("256KiB", 262_144), ("1.5KiB", 1_536), (10, 10), ("10B", 10)],
)
def test_a_size_is_a_number_with_a_binary_unit_or_bytes(text: object, expected: int) -> None:
    """A number with a binary unit, or bytes without one, is read as exact bytes."""
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["64MB", "64mib", "0.3KiB", "-1", "2048GiB", True, None, ""])
def test_what_is_no_size_is_refused(text: object) -> None:
    """Decimal units are refused rather than guessed at; so is a part of a byte."""
    with pytest.raises(ValueError, match=r"^is "):
        parse_size(text)


@given(st.one_of(st.text(), st.from_regex(r"[0-9]+(\.[0-9]+)?[a-zA-Z]{0,3}"), st.floats(), st.integers()))
def test_any_value_is_a_duration_or_a_plain_refusal(value: object) -> None:
    """Whatever is given, a duration is within its bounds or refused with a message of one line."""
    duration_ms, refusal = 0, ""
    try:
        duration_ms = parse_duration(value)
    except ValueError as error:
        refusal = str(error)
    assert 0 <= duration_ms <= DURATION_MOST_MS
    assert "\n" not in refusal


@given(st.sampled_from(READERS), st.text(alphabet=st.characters(exclude_characters="0123456789"), min_size=6))
def test_no_refusal_quotes_the_value(reader: "Callable[[str], object]", text: str) -> None:
    """The message of a refusal never holds the value: it could be a secret in the wrong place."""
    marked = f"Zq{text}Zq"
    refusal = ""
    try:
        reader(marked)
    except ValueError as error:
        refusal = str(error)
    assert "Zq" not in refusal


@pytest.mark.parametrize(
    "url",
    ["https://h.example", "https://h.example:8443/prefix", "http://127.0.0.1:80", "https://[::1]:8443"],
)
def test_a_base_url_is_kept_as_it_is(url: str) -> None:
    """A usable URL is kept byte for byte, but for a slash at its end: what is signed is what is sent."""
    assert base_url(url) == base_url(f"{url}/") == url


@pytest.mark.parametrize(
    "url",
    [
        *(
            "h.example",
            "ftp://h.example",
            "https://",
            "https:///path",
            "https://u:p@h.example",
            "https://h/?q=1",
        ),
        *(
            "https://h/#f",
            "https://h:99999",
            "https://h:0",
            "https://h:",
            "https://h:port",
            "https://[::1",
            "https://h h",
        ),
        *("https://hö.example", "https://h\\x", "https://-h", "https://[1.2]/", "https://h\n"),
    ],
)
def test_an_unusable_base_url_is_refused(url: str) -> None:
    """User names, queries, fragments, bad hosts and ports are refused."""
    with pytest.raises(ValueError, match=r"^(is|has) "):
        base_url(url)


@pytest.mark.parametrize("text", ["localhost:9092", "10.0.0.1:1", "[::1]:65535", "kafka_1.example:9092"])
def test_host_and_port_are_kept(text: str) -> None:
    """A host and a port are kept as they are."""
    assert host_and_port(text) == text


@pytest.mark.parametrize(
    "text", ["", "localhost", ":9092", "h:0", "h:65536", "::1:9092", "h:\u0669", "[x]:1", "h :1", "h:1\n"]
)
def test_anything_else_is_no_host_and_port(text: str) -> None:
    """A missing part, a port out of range, and IPv6 without brackets are refused."""
    with pytest.raises(ValueError, match=r"^(is|has) "):
        host_and_port(text)


def test_the_content_of_a_key_is_no_path() -> None:
    """A key pasted where its file's path belongs is refused, without being shown."""
    with pytest.raises(ValueError, match="content of a file"):
        file_path("-----BEGIN PRIVATE KEY-----\nAAAA")


@pytest.mark.parametrize(
    ("host", "expected"), [("localhost", True), ("127.0.0.9", True), ("::1", True), ("h.example", False)]
)
def test_loopback_is_this_machine(host: str, expected: bool) -> None:
    """Only names and addresses of this machine itself count as loopback."""
    assert is_loopback(host) is expected
