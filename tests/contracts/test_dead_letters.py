import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import dead_letters as letters
from contracts.dead_letters import InvalidLetter, LetterHeaders, original_headers, read_origin_header
from contracts.origins import Origin
from contracts.states import Outcome, Reason, Step

LETTER = LetterHeaders(
    reason=Reason.FAILED,
    sequence=5,
    origin=Origin("unbinding.requests", 7, 2**40),
    first_parked_at=1_740_791_727_001,
    parked_at=1_740_791_999_999,
    message="the merchant must look",
    attempts=3,
    replays=1,
    saga_id="5e9a1c77",
    binding_id="bnd-é",
    request_id="req-1",
    joined_request_ids=("req-2", "req-3"),
    step=Step.CANCEL_TOKEN,
    outcome=Outcome.FAILURE,
    result_code="PROCESS_FAIL",
    origin_timestamp=1_740_791_727_000,
    sealed_with="k-2025",
    original=(("ce_id", b"req-1"), ("traceparent", b"00-x")),
)
NEEDED = [
    letters.VERSION_HEADER,
    letters.REASON_HEADER,
    letters.SEQUENCE_HEADER,
    letters.ORIGIN_TOPIC_HEADER,
    letters.ORIGIN_PARTITION_HEADER,
    letters.ORIGIN_OFFSET_HEADER,
    letters.FIRST_PARKED_AT_HEADER,
    letters.PARKED_AT_HEADER,
    letters.ATTEMPTS_HEADER,
    letters.REPLAYS_HEADER,
]
NAMES = sorted(value for name, value in vars(letters).items() if name.endswith("_HEADER"))


def with_header(name: str, value: bytes) -> list[tuple[str, bytes]]:
    """Return the letter's headers with one exchanged."""
    return [*((key, held) for key, held in LETTER.to_headers() if key != name), (name, value)]


def test_what_is_written_is_read() -> None:
    """Headers survive the way there and back."""
    assert LetterHeaders.from_headers(LETTER.to_headers()) == LETTER


def test_a_bare_letter_is_written_and_read() -> None:
    """A record whose ids could not be read has a letter, too; its key is its origin."""
    bare = LetterHeaders(
        reason=Reason.UNREADABLE,
        sequence=0,
        origin=Origin("unbinding.requests", 0, 0),
        first_parked_at=0,
        parked_at=0,
        origin_sha256="ab" * 32,
    )
    assert LetterHeaders.from_headers(bare.to_headers()) == bare
    assert bare.key == "unbinding.requests/0/0"
    assert LETTER.key == "5e9a1c77"


def test_spring_reads_its_headers() -> None:
    """Topic and reason as text; partition, offset and timestamp as big-endian int, long, long."""
    found = dict(LETTER.to_headers())
    assert found["kafka_dlt-original-topic"] == b"unbinding.requests"
    assert found["kafka_dlt-original-partition"] == struct.pack(">i", 7)
    assert found["kafka_dlt-original-offset"] == struct.pack(">q", 2**40)
    assert found["kafka_dlt-original-timestamp"] == struct.pack(">q", 1_740_791_727_000)
    assert found["kafka_dlt-exception-fqcn"] == b"failed"
    assert found["kafka_dlt-exception-message"] == b"the merchant must look"


def test_headers_have_a_bounded_size() -> None:
    """Neither messages, nor joined ids, nor the request's own headers make a letter grow without end."""
    big = replace(
        LETTER,
        message="é\x00" * 10_000,
        joined_request_ids=("\x01" * 256,) * 100,
        original=(("ce_id", b"x" * 60_000), *((f"ce_x{number}", b"y" * 100) for number in range(1000))),
    )
    headers = big.to_headers()
    assert sum(len(name) + len(value) for name, value in headers) < 16_384
    assert len(dict(headers)[letters.MESSAGE_HEADER]) <= 256
    assert len(dict(headers)[letters.JOINED_REQUEST_IDS_HEADER]) <= letters.JOINED_MAX_BYTES
    assert "\x00" not in LetterHeaders.from_headers(headers).message


@pytest.mark.parametrize("name", NEEDED)
def test_a_letter_needs_its_essentials(name: str) -> None:
    """Without one of them, or with nonsense in it, the error names the header."""
    without = [(key, value) for key, value in LETTER.to_headers() if key != name]
    with pytest.raises(InvalidLetter, match=f"{name} is missing"):
        LetterHeaders.from_headers(without)
    for nonsense in (b"\xff", b"", b"-1 ", b"x" * 70_000, b"9" * 300):
        with pytest.raises(InvalidLetter, match=f"{name} must be"):
            LetterHeaders.from_headers(with_header(name, nonsense))


@pytest.mark.parametrize(
    ("name", "field"),
    [
        (letters.SAGA_ID_HEADER, "saga_id"),
        (letters.BINDING_ID_HEADER, "binding_id"),
        (letters.REQUEST_ID_HEADER, "request_id"),
        (letters.STEP_HEADER, "step"),
        (letters.OUTCOME_HEADER, "outcome"),
        (letters.RESULT_CODE_HEADER, "result_code"),
        (letters.ORIGIN_TIMESTAMP_HEADER, "origin_timestamp"),
        (letters.ORIGIN_SHA256_HEADER, "origin_sha256"),
        (letters.SEALED_WITH_HEADER, "sealed_with"),
    ],
)
@pytest.mark.parametrize("nonsense", [b"\xff", b"", b"a\nb", b"x" * 5000])
def test_nonsense_elsewhere_counts_as_absent(name: str, field: str, nonsense: bytes) -> None:
    """One wrong header does not hide a letter from the people who must look at it."""
    assert getattr(LetterHeaders.from_headers(with_header(name, nonsense)), field) is None


@pytest.mark.parametrize(
    "nonsense", [b"{", b"{}", b"[1]", b'["a","b","c","d","e","f","g","h","i"]', b"[[" * 900]
)
def test_nonsense_in_joined_ids_counts_as_none(nonsense: bytes) -> None:
    """Only an array of at most eight ids is one."""
    read = LetterHeaders.from_headers(with_header(letters.JOINED_REQUEST_IDS_HEADER, nonsense))
    assert read.joined_request_ids == ()


def test_a_header_too_long_to_be_ours_is_not_even_parsed() -> None:
    """An array in more bytes than are ever written counts as none."""
    stuffed = b'["a"' + b" " * letters.RECORD_HEADER_MAX_BYTES + b"]"
    read = LetterHeaders.from_headers(with_header(letters.JOINED_REQUEST_IDS_HEADER, stuffed))
    assert read.joined_request_ids == ()


def test_a_letter_of_a_later_version_is_left_alone() -> None:
    """What the headers mean there is not known here."""
    with pytest.raises(InvalidLetter, match="newer version"):
        LetterHeaders.from_headers(with_header(letters.VERSION_HEADER, b"2"))


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.none() | st.binary(max_size=30)), max_size=5))
def test_any_headers_are_read_or_refused(extra: list[tuple[str, bytes | None]]) -> None:
    """Whatever stands in them: a letter, or InvalidLetter with the name of a header."""
    try:
        LetterHeaders.from_headers([*LETTER.to_headers(), *extra])
    except InvalidLetter as error:
        said = str(error)
        known = any(name in said for name in NAMES)
    else:
        known = True
    assert known


def test_only_the_requests_own_headers_are_kept() -> None:
    """`ce_*` and trace context go into the letter, forged headers of ours do not."""
    headers = [("ce_id", b"1"), ("unbinding-reason", b"failed"), ("traceparent", b"t"), ("ce_time", None)]
    assert original_headers(headers) == (("ce_id", b"1"), ("traceparent", b"t"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "t",
        "t/1",
        "t/1/2/3",
        "t/01/2",
        "t/-1/2",
        "t/1/x",
        "t/2147483648/0",
        "t/1/9223372036854775808",
        "a b/1/2",
    ],
)
def test_what_is_no_origin_is_none(text: str) -> None:
    """An origin has one text only, within the ranges of Kafka."""
    assert (
        read_origin_header([("unbinding-forwarded-from", text.encode())], "unbinding-forwarded-from") is None
    )
    with pytest.raises(ValueError, match="topic/partition/offset"):
        Origin.parse(text)


def test_an_origin_survives_its_text() -> None:
    """Written and read, it is the same."""
    origin = Origin("unbinding.requests", 11, 9_223_372_036_854_775_807)
    headers = [(letters.FORWARDED_FROM_HEADER, origin.text.encode())]
    assert read_origin_header(headers, letters.FORWARDED_FROM_HEADER) == origin
    assert read_origin_header(headers, letters.BROADCAST_FROM_HEADER) is None
    assert (
        read_origin_header([(letters.FORWARDED_FROM_HEADER, b"\xff")], letters.FORWARDED_FROM_HEADER) is None
    )
