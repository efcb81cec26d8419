"""The closed list of fields of a log line, and what a value may be.

An allow-list: a list of forbidden names would miss the secret that nobody thought of. A field that is not
listed is refused where logs are strict (tests), and dropped and counted where they are not: a forgotten name
must neither leak nor stop a shard. Values are numbers, words and short texts; bytes, maps and objects are
never rendered.
"""

import re
from enum import StrEnum
from typing import Final

TEXT_MOST: Final = 256
ITEMS_MOST: Final = 32
WHOLE_MOST: Final = 2**63 - 1

Scalar = str | int | float | bool | None

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


class FieldName(StrEnum):
    """Everything beside `at`, `level` and `event` that can be in a log line."""

    ACQUIRER_ID = "acquirer_id"
    """Acquirer of a token."""
    ADDRESS = "address"
    """Where health and metrics are served."""
    APPLICATION = "application"
    """The settings' `application`."""
    ATTEMPT = "attempt"
    """Number of an attempt, from 1."""
    ATTEMPTS = "attempts"
    """Attempts made at a step so far."""
    BINDING_ID = "binding_id"
    """The binding."""
    BY = "by"
    """Who gave a command or a hold, as claimed or proven."""
    CAUSE = "cause"
    """A word or short text of ours that says why."""
    CLIENT = "client"
    """Client id at a counterpart."""
    CODE = "code"
    """Result code."""
    COMMAND = "command"
    """Kind of a command: `replay` or `discard`."""
    COUNT = "count"
    """How many, of what the event is about."""
    COUNTERPART = "counterpart"
    """Who is called."""
    DURATION_MS = "duration_ms"
    """How long it took."""
    EVIDENCE = "evidence"
    """Why a target is known to be dead."""
    EXCEPTION = "exception"
    """An exception as `describe_exception` renders it."""
    FINGERPRINT = "fingerprint"
    """Keyed fingerprint of a token."""
    HEADER = "header"
    """Name of a header."""
    HOLD_ID = "hold_id"
    """A hold."""
    INPUT = "input"
    """`requests`, `commands` or `notices`."""
    INSTANCE_ID = "instance_id"
    """The settings' `instance_id`."""
    KEY_ID = "key_id"
    """Id of a key, never the key."""
    LETTER = "letter"
    """Key of a dead letter."""
    LINE = "line"
    """The line to a client."""
    LOGGER = "logger"
    """Name of a library's logger."""
    NAME = "name"
    """Name of a setting."""
    NEXT_ATTEMPT_AT = "next_attempt_at"
    """Not before this moment (ms since the epoch)."""
    OFFSET = "offset"
    """Offset of a record."""
    ORIGIN = "origin"
    """`topic/partition/offset` of a record."""
    OUTCOME = "outcome"
    """`SUCCESS`, `FAILURE` or `UNKNOWN`."""
    PARTITION = "partition"
    """The shard's partition."""
    PARTITIONS = "partitions"
    """Several partitions."""
    PLACE = "place"
    """`module:line` in code."""
    PLAN_ID = "plan_id"
    """Plan that a command belongs to."""
    PROFILE = "profile"
    """The settings' `profile`."""
    PSP_ID = "psp_id"
    """Wallet of a token."""
    REASON = "reason"
    """Why a saga was parked: the closed list."""
    RECORDS = "records"
    """Records of a transaction or a restore."""
    REMEDY = "remedy"
    """What to do, in words of ours."""
    REPLAYS = "replays"
    """How often a saga was replayed."""
    REQUEST_ID = "request_id"
    """`ce_id` of a request."""
    RESULT_CLASS = "result_class"
    """What a result means for the saga."""
    SAGA_ID = "saga_id"
    """The saga."""
    SAGAS = "sagas"
    """Live sagas."""
    SEQUENCE = "sequence"
    """Number of the saga's last event."""
    SIZE = "size"
    """Bytes."""
    STATE = "state"
    """State of a saga or a shard."""
    STATUS = "status"
    """HTTP status."""
    STEP = "step"
    """Step of a saga."""
    STEPS = "steps"
    """Steps of a profile, or done."""
    TEMPLATE = "template"
    """What a library said, without values."""
    TOPIC = "topic"
    """Name of a topic."""
    TRACEPARENT = "traceparent"
    """W3C trace context of a request."""
    TRIES = "tries"
    """HTTP attempts of a call."""
    UNDECIDED = "undecided"
    """Whether a call may have had its effect."""
    UNTIL_AT = "until_at"
    """Until this moment (ms since the epoch)."""
    VERDICT = "verdict"
    """How a command ended: `applied` or `refused`."""
    VERSION = "version"
    """The worker's version."""


FIELD_NAMES: Final = frozenset(name.value for name in FieldName)


def clean_text(text: str) -> str:
    """Return text on one line, without control characters, at most 256 characters."""
    cleaned = _CONTROL.sub(" ", text[: TEXT_MOST + 1])
    return cleaned if len(cleaned) <= TEXT_MOST else f"{cleaned[: TEXT_MOST - 1]}…"


def plain_value(value: object) -> Scalar | list[Scalar]:
    """Return a value as it may stand in a log line. Raises `TypeError` for all that is no plain value."""
    if isinstance(value, list | tuple | set | frozenset):
        return [_scalar(item) for item in list(value)[:ITEMS_MOST]]
    return _scalar(value)


def _scalar(value: object) -> Scalar:
    match value:
        case None | bool() | float():
            return value
        case int() if abs(value) <= WHOLE_MOST:
            return int(value)
        case str():
            return clean_text(str(value))
    raise TypeError(
        f"a {type(value).__name__} is no value of a log line: pass numbers, words, or a list of them"
    )
