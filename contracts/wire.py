"""How fields look on the wire: names, moments, identifiers, and what is said of a field that is wrong.

Errors:

    ContractError
    └── InvalidEvent     readable, but it breaks a rule of its contract; names fields and rules, never values
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, Final, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)
from pydantic import ValidationError as _ValidationError
from pydantic.alias_generators import to_camel

MESSAGE_MAX_BYTES: Final = 256

# Upper bound: any offset can be applied to a moment below it without leaving the years Python knows.
_MOMENT_END_MS: Final = 253_370_764_800_000
_RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)",
    re.ASCII,
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")

# Each pattern means the same in Rust (pydantic) and in ECMA 262: it goes into the JSON Schema, too.
NO_CONTROL: Final = r"^[^\x00-\x1f\x7f-\x9f]+$"
NO_BLANK: Final = r"^[^\x00-\x20\x7f-\x9f]+$"
HTTP_URL: Final = r"^[Hh][Tt][Tt][Pp][Ss]?://[^\x00-\x20\x7f-\x9f/?#]+[^\x00-\x20\x7f-\x9f]*$"
# A path segment of somebody's URL: dots alone, or a slash, must not pass.
PATH_SEGMENT: Final = r"^[A-Za-z0-9][A-Za-z0-9._~-]*$"
NAME: Final = r"^[a-z][a-z0-9_-]*$"
FINGERPRINT: Final = r"^[A-Za-z0-9._-]{1,64}:[A-Za-z0-9_-]{43,64}=?$"
LETTER_KEY: Final = r"^[A-Za-z0-9._:/-]+$"
_PATTERN_RULES: Final = {
    NO_CONTROL: "must not have control characters",
    NO_BLANK: "must not have blanks or control characters",
    HTTP_URL: "must be an http or https URL",
    PATH_SEGMENT: "must be letters, digits, '.', '_', '~', '-', beginning with a letter or digit",
    NAME: "must be small letters, digits, '_', '-', beginning with a letter",
    LETTER_KEY: "must be the key of a dead letter: a saga id, or topic/partition/offset",
    FINGERPRINT: "must be a fingerprint: key id, ':', and the digest",
}
_MOMENT_RULE: Final = "must be a moment as in RFC 3339, with its offset, from 1970 on"


class ContractError(Exception):
    """What others sent, or hand over to be sent, does not keep to the contract."""


class InvalidEvent(ContractError):
    """An event can be read but breaks a rule: `str()` names fields and rules in 256 bytes, never values."""


class WireModel(BaseModel):
    """A JSON object of the contract: camelCase outside, snake_case inside, frozen, strict in its types.

    Unknown fields are ignored, so that fields can be added. `null` means absent; empty text is wrong.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        frozen=True,
        strict=True,
        extra="ignore",
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    def to_json(self) -> bytes:
        """Return the wire form: UTF-8 JSON without absent fields."""
        return self.model_dump_json(exclude_none=True).encode()


Model = TypeVar("Model", bound=WireModel)


def moment_ms(moment: datetime) -> int:
    """Return an aware datetime as milliseconds since the Unix epoch, rounded down."""
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000


def rfc3339(at: int) -> str:
    """Return milliseconds since the Unix epoch as RFC 3339 text in UTC, always with three decimals."""
    return f"{_second_text(at // 1000)}.{at % 1000:03d}Z"


# Events of one moment share their second: with the cache a moment costs a third.
@lru_cache(maxsize=1024)
def _second_text(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat()[:19]


def parse_rfc3339(text: str) -> int:
    """Return RFC 3339 text as milliseconds since the Unix epoch; `ValueError` says the rule, not the text."""
    return moment_ms(_read_moment(text))


def _read_moment(value: object) -> datetime:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(_MOMENT_RULE)
        moment = value
    elif isinstance(value, str) and _RFC_3339.fullmatch(value) is not None:
        try:
            moment = datetime.fromisoformat(value.upper())
        except ValueError:
            raise ValueError(_MOMENT_RULE) from None
    else:
        raise ValueError(_MOMENT_RULE)
    if not 0 <= moment_ms(moment) < _MOMENT_END_MS:
        raise ValueError(_MOMENT_RULE)
    return moment


def _write_moment(moment: datetime) -> str:
    return rfc3339(moment_ms(moment))


def clean_message(text: str, *, max_bytes: int = MESSAGE_MAX_BYTES) -> str:
    """Return text fit for events, headers and logs: no control characters, at most `max_bytes` of UTF-8."""
    cleaned = _CONTROL.sub(" ", text[: 2 * max_bytes]).strip()
    encoded = cleaned.encode()
    if len(encoded) <= max_bytes:
        return cleaned
    return encoded[: max_bytes - 3].decode(errors="ignore") + "…"


def has_control_characters(text: str) -> bool:
    """Say whether text has characters that CloudEvents forbids and terminals obey."""
    return _CONTROL.search(text) is not None


def read_data(model: type[Model], data: Mapping[str, Any]) -> Model:
    """Return `data` as `model`, taking wire names only; raises `InvalidEvent`."""
    try:
        return model.model_validate(data, by_alias=True, by_name=False)
    except _ValidationError as error:
        message = _explain(error)
    # Raised outside the handler: pydantic's error holds the values, and a chained one would carry them on.
    raise InvalidEvent(message)


def _explain(error: _ValidationError) -> str:
    problems = error.errors(include_url=False, include_input=False, include_context=True)
    return clean_message("; ".join(_sentences(problems)))


def _sentences(problems: Iterable[Any]) -> Iterable[str]:
    for problem in problems:
        where = ".".join(str(part) for part in problem["loc"])
        what = _WORDS.get(problem["type"])
        if problem["type"] == "string_pattern_mismatch":
            what = _PATTERN_RULES[problem["ctx"]["pattern"]]
        elif what is None:
            what = problem["msg"].removeprefix("Value error, ")
        elif "{" in what:
            what = what.format(**problem["ctx"])
        yield f"{where} {what}" if where else what


_WORDS: Final = {
    "missing": "is required",
    "string_type": "must be text",
    "string_too_short": "must not be empty; leave it out instead",
    "string_too_long": "must have at most {max_length} characters",
    "enum": "must be one of {expected}",
    "int_type": "must be a whole number",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "bool_type": "must be true or false",
    "model_type": "must be an object",
    "tuple_type": "must be an array",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
}

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Moment = Annotated[
    datetime,
    BeforeValidator(_read_moment),
    PlainSerializer(_write_moment, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""An aware datetime; on the wire RFC 3339 text with an offset, written in UTC with milliseconds."""


Id16 = Annotated[str, StringConstraints(min_length=1, max_length=16, pattern=NO_CONTROL)]
Id32 = Annotated[str, StringConstraints(min_length=1, max_length=32, pattern=NO_CONTROL)]
Id64 = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=NO_CONTROL)]
Id128 = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=NO_CONTROL)]
Id256 = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=NO_CONTROL)]
"""`IdN`: an identifier or one line of text, 1 to N characters, none of them a control character."""
