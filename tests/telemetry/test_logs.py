"""Log lines, and what never gets into one."""

import io
import json
import logging
import re
import sys
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.telemetry import LogEvent, capture_crashes, capture_libraries, make_logger
from worker.telemetry.events import LEVELS, Level
from worker.telemetry.exceptions import describe_exception
from worker.telemetry.fields import FIELD_NAMES, TEXT_MOST, clean_text
from worker.telemetry.logs import LibraryHandler, StructuredLogger

pytestmark = pytest.mark.promise("P8")

SECRET = "tok-5a3e9f-never-shown"
NOW_AT = 1_740_791_758_123


class Page:
    """A logger that writes to memory."""

    def __init__(self, *, style: str = "json", least: Level = Level.DEBUG, strict: bool = False) -> None:
        self.stream = io.StringIO()
        self.dropped: list[int] = []
        self.logger: StructuredLogger = make_logger(
            stream=self.stream,
            style="console" if style == "console" else "json",
            clock=lambda: NOW_AT,
            dropped=self.dropped.append,
            least=least,
            strict=strict,
        )

    def lines(self) -> list[dict[str, object]]:
        """Return the lines written so far."""
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


@pytest.fixture
def hooks() -> Iterator[None]:
    """Give the process its own hooks and handlers back."""
    root = logging.getLogger()
    kept = (list(root.handlers), root.level, logging.raiseExceptions)
    own = (sys.excepthook, threading.excepthook, sys.unraisablehook)
    yield
    for handler in list(root.handlers):
        root.removeHandler(handler)
    for handler in kept[0]:
        root.addHandler(handler)
    root.setLevel(kept[1])
    logging.raiseExceptions = kept[2]
    logging.captureWarnings(capture=False)
    sys.excepthook, threading.excepthook, sys.unraisablehook = own


def test_a_line_has_moment_level_event_and_fields() -> None:
    """A line is one JSON object: moment in UTC, level of the event, event, fields."""
    page = Page()
    page.logger.log(LogEvent.SAGA_FINISHED, saga_id="s1", attempts=2, steps=("consult", "cancel_token"))
    assert page.lines() == [
        {
            "at": "2025-03-01T01:15:58.123Z",
            "level": "info",
            "event": "saga.finished",
            "saga_id": "s1",
            "attempts": 2,
            "steps": ["consult", "cancel_token"],
        }
    ]


def test_a_console_line_is_one_line_of_text() -> None:
    """On a console a line is text, values with blanks in quotes."""
    page = Page(style="console")
    page.logger.log(LogEvent.CALL_FAILED, step="consult", cause="no answer", tries=2)
    (line,) = page.stream.getvalue().splitlines()
    assert line.endswith('call.failed             step=consult  cause="no answer"  tries=2')


def test_events_are_noun_dot_past_and_each_has_a_level() -> None:
    """The list of events keeps its form, and no level is forgotten."""
    assert all(re.fullmatch(r"[a-z]+\.[a-z]+", event) for event in LogEvent)
    assert set(LEVELS) == set(LogEvent)


def test_lines_below_the_least_level_are_not_written() -> None:
    """An event below the least level leaves no line."""
    page = Page(least=Level.INFO)
    page.logger.log(LogEvent.CALL_ENDED, step="consult")
    assert page.lines() == []


def test_an_unlisted_field_is_dropped_and_counted() -> None:
    """An unlisted field, or a value that is no plain one, is dropped and counted; the line is written."""
    page = Page()
    page.logger.log(
        LogEvent.CALL_FAILED,
        access_token=SECRET,
        level=SECRET,
        code=SECRET.encode(),
        cause={"a": SECRET},
        tries=1,
    )
    (line,) = page.lines()
    assert line["tries"] == 1
    assert line["level"] == "warning"
    assert SECRET not in page.stream.getvalue()
    assert page.dropped == [4]


@pytest.mark.parametrize(
    "fields", [{"access_token": "x"}, {"code": b"x"}, {"cause": {}}, {"code": ValueError()}]
)
def test_an_unlisted_field_is_refused_in_tests(fields: dict[str, object]) -> None:
    """Where logs are strict an unlisted field, or a value that is no plain one, raises."""
    with pytest.raises((TypeError, ValueError)):
        Page(strict=True).logger.log(LogEvent.CALL_FAILED, **fields)


@given(
    st.dictionaries(st.sampled_from(sorted(FIELD_NAMES)), st.one_of(st.text(), st.integers(), st.binary()))
)
def test_any_line_is_one_line_of_json(fields: dict[str, object]) -> None:
    """Whatever the values are, a line stays one line that parses."""
    page = Page()
    page.logger.log(LogEvent.RECORD_REFUSED, **fields)
    assert len(page.lines()) == 1


@given(st.text(alphabet=st.characters(), max_size=600))
def test_clean_text_is_short_and_on_one_line(text: str) -> None:
    """Text in a line has no control characters, no lone surrogates, and an end."""
    cleaned = clean_text(text)
    assert len(cleaned) <= TEXT_MOST
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", cleaned)


def test_a_foreign_exception_shows_kind_and_place_only() -> None:
    """A foreign exception, its causes and its group tell kinds and frames, never messages or variables."""
    page = Page()
    try:
        try:
            int(SECRET)
        except ValueError as error:
            raise KeyError(SECRET) from error
    except KeyError as error:
        page.logger.log(
            LogEvent.SAGA_CRASHED, error=ExceptionGroup(SECRET, [error, OSError(5, SECRET, SECRET)])
        )
    text = str(page.lines()[0]["exception"])
    assert "KeyError at telemetry/test_logs.py:" in text
    assert "ValueError" in text
    assert "errno 5" in text
    assert SECRET not in page.stream.getvalue()


def test_an_own_exception_shows_its_message() -> None:
    """The messages of our own exceptions are written to be shown."""
    kind = type("OwnError", (Exception,), {"__module__": "worker.shard.claim"})
    assert (
        describe_exception(kind("journal stands still"))
        == "worker.shard.claim.OwnError: journal stands still"
    )


def test_a_circle_of_causes_has_an_end() -> None:
    """Exceptions that are each other's cause are told once each."""
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first
    assert describe_exception(first) == "ValueError ← KeyError ← …"


@pytest.mark.parametrize(
    ("message", "arguments", "expected"),
    [
        ("Heartbeat failed for group %s", (SECRET,), "Heartbeat failed for group %s"),
        (f"Unable to send {{'token': '{SECRET}'}}", (), "Unable to send"),
        (f"Task exception was never retrieved\nfuture: {SECRET}", (), "Task exception was never retrieved"),
        (ValueError(SECRET), (), None),
    ],
)
@pytest.mark.usefixtures("hooks")
def test_a_library_is_logged_without_its_values(
    message: object, arguments: tuple[object, ...], expected: str | None
) -> None:
    """Of what a library logs only its own words are written, whichever way it put the values in."""
    page = Page()
    capture_libraries(page.logger)
    logging.getLogger("aiokafka.consumer").warning(message, *arguments, exc_info=ValueError(SECRET))
    (line,) = page.lines()
    assert line["event"] == "library.logged"
    assert line["logger"] == "aiokafka.consumer"
    assert expected is None or line["template"] == expected
    assert SECRET not in page.stream.getvalue()


def test_a_library_that_repeats_itself_is_counted() -> None:
    """The same place in a library is logged once in five seconds, and says how often it was not."""
    page = Page()
    handler = LibraryHandler(page.logger)
    for created in (100.0, 100.1, 104.9, 105.0):
        record = logging.LogRecord("aiokafka", logging.WARNING, __file__, 7, "no broker", (), None)
        record.created = created
        handler.handle(record)
    assert [line.get("count") for line in page.lines()] == [None, 2]


def test_a_failing_handler_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """When writing fails the library's record is not printed elsewhere."""
    page = Page()
    page.stream.close()
    record = logging.LogRecord("x", logging.ERROR, __file__, 1, SECRET, (), None)
    LibraryHandler(page.logger).handle(record)
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("hooks")
def test_what_nobody_caught_is_logged_without_values(capsys: pytest.CaptureFixture[str]) -> None:
    """A crash, of a thread too, is a log line without messages of foreign exceptions."""
    page = Page()
    capture_crashes(page.logger)
    sys.excepthook(ValueError, ValueError(SECRET), None)
    thread = threading.Thread(target=int, args=(SECRET,))
    thread.start()
    thread.join(timeout=10)
    assert [line["event"] for line in page.lines()] == ["worker.failed", "worker.failed"]
    assert SECRET not in page.stream.getvalue() + "".join(capsys.readouterr())
