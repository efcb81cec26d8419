"""Log lines from closed lists of events and fields; and what libraries log, without its values."""

import logging
import re
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any, Final, Literal, Protocol, TextIO

import orjson
import structlog
from typing_extensions import override

from worker.telemetry.events import LEVELS, Level, LogEvent
from worker.telemetry.exceptions import describe_exception
from worker.telemetry.fields import FIELD_NAMES, FieldName, clean_text, plain_value

_EVENT_FORM: Final = re.compile(r"[a-z]{1,30}\.[a-z]{1,30}")
_HEAD: Final = frozenset({"at", "level", "event"})
# Where a text that a library put together itself goes over from its own words to values.
_VALUE_BEGINS: Final = re.compile(r"[\n:='\"`<({\[]|\d")


class Logger(Protocol):
    """Takes log lines; what it takes is checked, see `fields`."""

    def log(self, event: str, **fields: object) -> None:
        """Write one line; `error` is an exception. Wrong names raise only where logs are strict."""
        ...


def _render_json(logger: object, method: str, line: Mapping[str, Any]) -> str:  # noqa: ARG001 - structlog's
    return orjson.dumps(line).decode()


def _render_console(logger: object, method: str, line: Mapping[str, Any]) -> str:  # noqa: ARG001 - structlog's
    rest = "  ".join(f"{name}={_console_value(value)}" for name, value in line.items() if name not in _HEAD)
    return f"{line['at']}  {line['level']:<7}  {line['event']:<22}  {rest}".rstrip()


def _console_value(value: object) -> str:
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return orjson.dumps(text).decode() if not text or " " in text or '"' in text else text


def _template(record: logging.LogRecord) -> str:
    """Return a library's own words: a template with its placeholders, or the start of a finished text."""
    text = str(record.msg)
    if record.args:
        return clean_text(text.partition("\n")[0])
    return clean_text(_VALUE_BEGINS.split(text, maxsplit=1)[0].strip())


class _Guard:
    """Lets listed fields with plain values through; refuses or drops the rest."""

    def __init__(self, *, dropped: Callable[[int], None], strict: bool) -> None:
        self._dropped = dropped
        self._strict = strict

    def __call__(self, logger: object, method: str, line: MutableMapping[str, Any]) -> Mapping[str, Any]:  # noqa: ARG002 - structlog's
        clean: dict[str, Any] = {}
        dropped = 0
        for name, value in line.items():
            try:
                clean[name] = _field(name, value)
            except (TypeError, ValueError):
                if self._strict:
                    raise
                dropped += 1
        if dropped:
            self._dropped(dropped)
        return clean


class _Stamp:
    """Puts the moment and the level of the event in front."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock

    def __call__(self, logger: object, method: str, line: Mapping[str, Any]) -> Mapping[str, Any]:  # noqa: ARG002 - structlog's
        at = datetime.fromtimestamp(self._clock() / 1000, UTC).isoformat(timespec="milliseconds")
        event = line["event"]
        return {
            "at": at.replace("+00:00", "Z"),
            "level": LEVELS[LogEvent(event)].name.lower(),
            **line,
        }


def _field(name: str, value: object) -> object:
    if name == "event":
        return value
    if name not in FIELD_NAMES:
        raise ValueError(
            f"{name} is no field of a log line: add it to FieldName with its meaning, or leave it out"
        )
    if isinstance(value, BaseException):
        if name != FieldName.EXCEPTION:
            raise TypeError(f"{name} is an exception: pass it as error=")
        return describe_exception(value)
    return plain_value(value)


class StructuredLogger:
    """A logger over structlog, without any state of the process."""

    def __init__(self, chain: Any, *, least: Level, strict: bool) -> None:
        self._chain = chain
        self._least = least
        self._strict = strict

    def log(self, event: str, **fields: object) -> None:
        """Write one line at the event's own level; the exception in `error` is rendered without values.

        An event that is not listed is written as `event.misnamed`; with `strict` it raises `ValueError`.
        """
        level = LEVELS.get(event)  # type: ignore[call-overload]  # a StrEnum's member equals its text
        if level is None:
            level = self._misnamed(event, fields)
            event = LogEvent.EVENT_MISNAMED
        if level < self._least:
            return
        error = fields.pop("error", None)
        if error is not None:
            fields[FieldName.EXCEPTION.value] = error
        self._chain.msg(str(event), **fields)

    def _misnamed(self, event: str, fields: dict[str, object]) -> Level:
        if self._strict:
            raise ValueError("the event is not in the list: add it to LogEvent with its meaning and level")
        if _EVENT_FORM.fullmatch(event):
            fields[FieldName.NAME.value] = event
        return LEVELS[LogEvent.EVENT_MISNAMED]


LIBRARY_GAP_S: Final = 5.0
"""How long one place in a library is not heard again."""


class LibraryHandler(logging.Handler):
    """Takes what libraries log: the template of the message, never its arguments.

    Each place is heard at most once in five seconds, and says how often it was not: a library that cannot
    reach its broker logs thousands of lines a second.
    """

    def __init__(self, logger: Logger, *, least: Level = Level.WARNING) -> None:
        super().__init__(level=least.value)
        self._logger = logger
        self._heard: dict[str, float] = {}
        self._unheard: Counter[str] = Counter()

    @override
    def emit(self, record: logging.LogRecord) -> None:
        """Write one line for a library's record. Errors go to `logging`'s own handler of errors."""
        place = f"{record.module}:{record.lineno}"
        if record.created - self._heard.get(place, 0.0) < LIBRARY_GAP_S:
            self._unheard[place] += 1
            return
        self._heard[place] = record.created
        unheard = self._unheard.pop(place, 0)
        try:
            self._logger.log(
                LogEvent.LIBRARY_LOGGED,
                error=record.exc_info[1] if record.exc_info else None,
                logger=record.name,
                template=_template(record),
                place=place,
                **({"count": unheard} if unheard else {}),
            )
        except Exception:  # noqa: BLE001 - the contract of logging.Handler: emit never raises
            self.handleError(record)

    @override
    def handleError(self, record: logging.LogRecord) -> None:
        """Say nothing: `logging` itself would print the record with its values."""


def make_logger(
    *,
    stream: TextIO,
    style: Literal["json", "console"],
    clock: Callable[[], int],
    dropped: Callable[[int], None],
    least: Level = Level.INFO,
    strict: bool = False,
) -> StructuredLogger:
    """Return a logger that writes to `stream`.

    `clock` gives ms since the Unix epoch. `dropped` is told how many fields of a line were not fit;
    with `strict` such a field raises instead.
    """
    chain = structlog.wrap_logger(
        structlog.WriteLogger(stream),
        processors=[
            _Guard(dropped=dropped, strict=strict),
            _Stamp(clock),
            _render_json if style == "json" else _render_console,
        ],
        wrapper_class=structlog.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return StructuredLogger(chain, least=least, strict=strict)


def capture_crashes(logger: Logger) -> None:
    """Log what nobody caught, instead of Python's own output: its tracebacks show the values in messages."""

    def uncaught(kind: type[BaseException], error: BaseException, trace: object) -> None:  # noqa: ARG001 - Python's
        logger.log(LogEvent.WORKER_FAILED, error=error, cause="uncaught")

    def uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
        logger.log(LogEvent.WORKER_FAILED, error=args.exc_value, cause="uncaught in a thread")

    def unraisable(args: "sys.UnraisableHookArgs") -> None:
        logger.log(LogEvent.WORKER_FAILED, error=args.exc_value, cause="raised where nobody can catch")

    sys.excepthook = uncaught
    threading.excepthook = uncaught_in_thread
    sys.unraisablehook = unraisable


def capture_libraries(logger: Logger, *, least: Level = Level.WARNING) -> None:
    """Send what libraries log through `logging` to `logger`, in place of all other handlers of the root."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    root.addHandler(LibraryHandler(logger, least=least))
    root.setLevel(least.value)
    logging.raiseExceptions = False
    logging.captureWarnings(capture=True)
