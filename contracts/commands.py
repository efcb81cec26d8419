"""What on-call orders, replay, discard and hold, and the verdict that every command ends in.

Errors: `contracts.wire.InvalidEvent`.
"""

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, Self

import orjson
from pydantic import ConfigDict, Field, StringConstraints, model_validator
from pydantic.config import JsonDict

from contracts.cloudevents import IncomingEvent
from contracts.states import Step
from contracts.wire import (
    LETTER_KEY,
    NAME,
    NO_CONTROL,
    Id32,
    Id64,
    Id128,
    Id256,
    InvalidEvent,
    Moment,
    WireModel,
    moment_ms,
    read_data,
)

REPLAY_REQUESTED: Final = "replay.requested.v1"
DISCARD_REQUESTED: Final = "discard.requested.v1"
VERDICT_RECORDED: Final = "verdict.recorded.v1"
HOLD_PLACED: Final = "hold.placed.v1"

WHY_MAX: Final = 512
LETTER_MAX: Final = 300
"""A letter key is a saga id or an origin: a topic name (≤ 249), partition and offset."""

LetterKey = Annotated[str, StringConstraints(min_length=1, max_length=LETTER_MAX, pattern=LETTER_KEY)]
Why = Annotated[str, StringConstraints(min_length=1, max_length=WHY_MAX, pattern=NO_CONTROL)]


class ReplayFrom(StrEnum):
    """Where a replayed saga goes on."""

    FAILED_STEP = "failed_step"
    """At the step that failed, with the results it already has."""
    START = "start"
    """At its first step; lawful only where no revoke was attempted."""


class CommandKind(StrEnum):
    """What a command orders."""

    REPLAY = "replay"
    DISCARD = "discard"


class Ruling(StrEnum):
    """How a command ended."""

    APPLIED = "applied"
    """The letter's saga was resumed or discarded."""
    REFUSED = "refused"
    """Nothing changed; `because` says why and `instead` what would be lawful."""


class Command(WireModel):
    """What replay and discard have in common: one command is for one dead letter."""

    letter: LetterKey
    """Key of the dead letter: a saga id, or the origin where there is no saga."""
    expected_sequence: int = Field(ge=0)
    """`unbinding-sequence` of the letter as the person saw it; a saga that moved on refuses."""
    plan_id: Id64
    """The plan that this command is part of."""
    by: Id128
    """Who orders it; a claim, unless commands are signed."""
    why: Why
    """Why, in words for the audit."""


class ReplayRequested(Command):
    """A person lets a parked saga go on (`replay.requested.v1`)."""

    type: ClassVar[str] = REPLAY_REQUESTED

    resume_from: ReplayFrom = Field(default=ReplayFrom.FAILED_STEP, strict=False, alias="from")
    """Where it goes on."""
    force: bool = False
    """Replay although it was replayed too often already."""


class DiscardRequested(Command):
    """A person decides that a dead letter needs nothing (`discard.requested.v1`)."""

    type: ClassVar[str] = DISCARD_REQUESTED


class VerdictRecorded(WireModel):
    """How a command ended (`verdict.recorded.v1`); how the saga then ends is in the states topic.

    Only what could be read of the command is here: an unreadable one has its origin as `letter`.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"properties": {"ruling": {"const": "refused"}}},
            "then": {"required": ["because"], "properties": {"because": {"type": "string"}}},
            "else": {
                "required": ["command"],
                "properties": {
                    "command": {"type": "string"},
                    "because": {"type": "null"},
                    "instead": {"type": "null"},
                },
            },
        }
    )
    type: ClassVar[str] = VERDICT_RECORDED

    letter: LetterKey
    """Key of the dead letter; key of the record."""
    ruling: Ruling = Field(strict=False)
    """Applied or refused."""
    because: Why | None = None
    """With `refused`: why, for a person."""
    instead: Why | None = None
    """With `refused`: the command that would lawfully proceed, where there is one."""
    command: CommandKind | None = Field(default=None, strict=False)
    """What was ordered."""
    command_id: Id256 | None = None
    """`ce_id` of the command."""
    saga_id: Id64 | None = None
    """The saga of the letter."""
    binding_id: Id128 | None = None
    """The binding of the letter."""
    expected_sequence: int | None = Field(default=None, ge=0)
    """What the command expected."""
    found_sequence: int | None = Field(default=None, ge=0)
    """What the saga was at."""
    resume_from: ReplayFrom | None = Field(default=None, strict=False, alias="from")
    """With a replay: where the saga was to go on."""
    force: bool = False
    """Whether the command was to override the limit of replays."""
    plan_id: Id64 | None = None
    """The plan of the command."""
    by: Id128 | None = None
    """Who ordered it."""
    by_verified: bool = False
    """Whether `by` was proven by an operator's signature."""
    why: Why | None = None
    """Why it was ordered."""
    at: Moment
    """When the verdict was given."""

    @model_validator(mode="after")
    def _fits_ruling(self) -> Self:
        if self.ruling is Ruling.REFUSED:
            if self.because is None:
                raise ValueError("because is required with ruling refused")
        elif self.because is not None or self.instead is not None:
            raise ValueError("because and instead only go with ruling refused")
        elif self.command is None:
            raise ValueError("command is required with ruling applied")
        return self


_NARROWING: Final = ("counterpart", "step", "authClientId", "referenceMerchantId", "authMerchantId")
_ALL_ALONE: Final[JsonDict] = {
    "required": ["all"],
    "properties": {"all": {"const": True}, **{name: {"type": "null"} for name in _NARROWING}},
}
_NARROWED: Final[JsonDict] = {
    "properties": {"all": {"const": False}},
    "anyOf": [{"required": [name], "properties": {name: {"type": "string"}}} for name in _NARROWING],
    "not": {
        "required": ["referenceMerchantId", "authMerchantId"],
        "properties": {"referenceMerchantId": {"type": "string"}, "authMerchantId": {"type": "string"}},
    },
}


class HoldScope(WireModel):
    """Which calls a hold stops: `all`, or those that fit every field that is given."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [_ALL_ALONE, _NARROWED]})

    all: bool = False
    """Every call; stands alone."""
    counterpart: Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=NAME)] | None = None
    """Calls to this counterpart, by its name in the settings."""
    step: Step | None = Field(default=None, strict=False)
    """Calls of this step."""
    auth_client_id: Id64 | None = None
    """Calls for this auth client."""
    reference_merchant_id: Id32 | None = None
    """Calls for this merchant (token)."""
    auth_merchant_id: Id64 | None = None
    """Calls for this merchant (agreement)."""

    @model_validator(mode="after")
    def _says_what(self) -> Self:
        named = [self.counterpart, self.step, self.auth_client_id, self.merchant]
        if self.all and any(named):
            raise ValueError("all stands alone")
        if not self.all and not any(named):
            raise ValueError(
                "one of all, counterpart, step, authClientId, referenceMerchantId, authMerchantId is required"
            )
        if self.reference_merchant_id is not None and self.auth_merchant_id is not None:
            raise ValueError("referenceMerchantId and authMerchantId exclude each other")
        return self

    @property
    def merchant(self) -> str | None:
        """The merchant in either form."""
        return self.reference_merchant_id or self.auth_merchant_id


class Hold(WireModel):
    """A standing order not to call (`hold.placed.v1`); a tombstone under its key releases it earlier."""

    type: ClassVar[str] = HOLD_PLACED

    scope: HoldScope
    """Which calls."""
    until: Moment
    """When it ends by itself."""
    by: Id128
    """Who ordered it."""
    why: Why
    """Why, in words for others on call."""

    @property
    def until_ms(self) -> int:
        """When it ends by itself, in milliseconds since the Unix epoch."""
        return moment_ms(self.until)

    def covers(
        self,
        *,
        step: Step,
        counterpart: str,
        now_ms: int,
        auth_client_id: str | None = None,
        merchant: str | None = None,
    ) -> bool:
        """Say whether a call that falls due now is stopped by this hold.

        `merchant` is the id that the call names: `referenceMerchantId` or `authMerchantId`. A hold on
        something that the call does not name does not cover it.
        """
        scope = self.scope
        return now_ms < self.until_ms and (
            scope.all
            or (
                scope.counterpart in (None, counterpart)
                and scope.step in (None, step)
                and scope.auth_client_id in (None, auth_client_id)
                and scope.merchant in (None, merchant)
            )
        )


def read_command(event: IncomingEvent) -> ReplayRequested | DiscardRequested:
    """Return the command that a record of the commands topic carries; raises `InvalidEvent`."""
    if event.type == REPLAY_REQUESTED:
        return read_data(ReplayRequested, event.data)
    if event.type == DISCARD_REQUESTED:
        return read_data(DiscardRequested, event.data)
    raise InvalidEvent(f"ce_type must be {REPLAY_REQUESTED} or {DISCARD_REQUESTED} on the commands topic")


def read_verdict(event: IncomingEvent) -> VerdictRecorded:
    """Return the verdict that a record of the verdicts topic carries; raises `InvalidEvent`."""
    if event.type == VERDICT_RECORDED:
        return read_data(VerdictRecorded, event.data)
    raise InvalidEvent(f"ce_type must be {VERDICT_RECORDED} on the verdicts topic")


def read_hold(value: bytes) -> Hold:
    """Return the hold that a value of the holds topic describes; raises `InvalidEvent`.

    The value is enough: a tool that writes no headers can place a hold, too.
    """
    try:
        data: Any = orjson.loads(value)
    except orjson.JSONDecodeError:
        data = None
    if not isinstance(data, dict):
        raise InvalidEvent("the value of a hold must be a JSON object in UTF-8")
    return read_data(Hold, data)
