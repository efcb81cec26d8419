"""What the worker tells others about a binding: states, steps, outcomes, reasons, and the two events out."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, Self

import orjson
from pydantic import ConfigDict, Field, StringConstraints, model_validator
from pydantic.config import JsonDict

from contracts.cloudevents import IncomingEvent
from contracts.wire import (
    NO_BLANK,
    Id64,
    Id128,
    Id256,
    InvalidEvent,
    Moment,
    WireModel,
    moment_ms,
    read_data,
    rfc3339,
)

BINDING_STATE_CHANGED: Final = "binding.state.changed.v1"
BINDING_REBIND_OFFERED: Final = "binding.rebind.offered.v1"
LINK_MAX: Final = 2048
LINK_NAMES: Final = frozenset({"authUrl", "normalUrl", "schemeUrl", "applinkUrl"})


class State(StrEnum):
    """What others may know of a saga: where it stands, and what may follow."""

    REQUESTED = "requested"
    """Admitted. Any state below may follow."""
    JOINED = "joined"
    """Another request joined this saga; has `nextAttemptAt` where it woke a consult. Then as before."""
    ALLOWED = "allowed"
    """Consult said yes.

    Then `revoked`, `waiting`, `held`, `parked`; `allowed`, `refused` or `lapsed` where it was asked again.
    """
    REFUSED = "refused"
    """Consult said no; nothing was revoked. An end."""
    LAPSED = "lapsed"
    """No permission in the user's time; nothing was revoked, the user may ask again. An end, no letter."""
    REVOKED = "revoked"
    """A token or an agreement is dead (see `done`).

    Then `revoked` (the other one), `unbound`, `waiting`, `held`, `parked`.
    """
    UNBOUND = "unbound"
    """Everything is done. An end."""
    OFFERED = "offered"
    """A way to bind again was handed out. An end; the event is `binding.rebind.offered.v1`."""
    WAITING = "waiting"
    """A step is undecided; it will be tried again, not before `nextAttemptAt`. Any state may follow."""
    HELD = "held"
    """A call fell due under a hold. Any state may follow.

    It uses no patience, except the user's time at consult.
    """
    PARKED = "parked"
    """A person must look; a dead letter stands. Then `resumed`, `discarded`, or on by evidence."""
    RESUMED = "resumed"
    """A person replayed it. Any state may follow."""
    DISCARDED = "discarded"
    """A person closed it. An end; before any revoke attempt debits are `allowed` again."""


ENDS: Final = frozenset({State.REFUSED, State.LAPSED, State.UNBOUND, State.OFFERED, State.DISCARDED})
"""The states that nothing follows."""


class Step(StrEnum):
    """One kind of call in a saga; members stand in the order in which a saga takes them."""

    CONSULT = "consult"
    """Ask whether the binding may be ended (Alipay+, consultUnbinding)."""
    CANCEL_TOKEN = "cancel_token"  # noqa: S105 - the name of a step
    """Revoke the access token (Alipay+ cancelToken; Antom revoke)."""
    CANCEL_AGREEMENT = "cancel_agreement"
    """End the auto-debit agreement (AlipayHK, cancelByAuthInfo; queryByAuthInfo settles doubt)."""
    NOTIFY_MERCHANT = "notify_merchant"
    """End the account at the merchant (AlipayHK, accountUnbinding)."""
    NOTIFY_HUB = "notify_hub"
    """Announce the dead token (Alipay+, authNotify `TOKEN_CANCELED`)."""
    OFFER = "offer"
    """Get links to bind again (Antom, Authorization Consult)."""


class Outcome(StrEnum):
    """What a result says (`resultStatus`)."""

    SUCCESS = "SUCCESS"
    """`S`: done."""
    FAILURE = "FAILURE"
    """`F`: failed."""
    UNKNOWN = "UNKNOWN"
    """`U`, no answer, an answer that cannot be verified, or a 5xx: neither done nor failed."""


class Reason(StrEnum):
    """Why a saga, or a record, was parked. A closed list."""

    FAILED = "failed"
    """A final result: trying again alone cannot help."""
    OUTCOME_UNKNOWN = "outcome_unknown"
    """The patience of a step is used up, and its outcome is still open."""
    LINE_STOPPED = "line_stopped"
    """A counterpart no longer takes our signature, key or client id; the first saga that saw it."""
    UNREADABLE = "unreadable"
    """The record is no event."""
    INVALID = "invalid"
    """The event breaks a rule of its contract, or no step of the profile can end one of its targets."""
    TOO_LARGE = "too_large"
    """The record is larger than is copied; the letter names its origin and its SHA-256 only."""
    EXPIRED = "expired"
    """`expiresAt` had passed when its turn came. Can only be discarded."""
    QUEUE_FULL = "queue_full"
    """Too many requests of one binding wait already."""
    UNWRITABLE = "unwritable"
    """Its transition could not be written, where others could."""
    CRASHED = "crashed"
    """Its handling raised inside the worker."""


class Evidence(StrEnum):
    """Why a target is known to be dead without an own `S`."""

    NOTICE = "notice"
    """A notice said so (authNotify, notifyAuthorization, notify.cancel)."""
    ALREADY_UNBOUND = "already_unbound"
    """An earlier saga had ended it, or the counterpart said that it was ended already."""
    QUERY = "query"
    """The counterpart said so when asked (queryByAuthInfo)."""


class Debits(StrEnum):
    """Whether the merchant may still debit under this binding."""

    ALLOWED = "allowed"
    """Unbinding is not decided, or was given up before anything was attempted."""
    BLOCKED = "blocked"
    """From the moment unbinding is decided."""


_ONLY_WITH: Final = {
    "next_attempt_at": ("nextAttemptAt", frozenset({State.WAITING, State.JOINED})),
    "refuse_reason": ("refuseReason", frozenset({State.REFUSED})),
    "reason": ("reason", frozenset({State.PARKED})),
    "evidence": ("evidence", frozenset({State.REVOKED, State.UNBOUND})),
}


_STATE_RULES: Final[dict[str, Any]] = {
    "not": {"properties": {"state": {"const": "offered"}}},
    "allOf": [
        *(
            {
                "if": {"not": {"properties": {"state": {"enum": [*sorted(states)]}}}},
                "then": {"properties": {name: {"type": "null"}}},
            }
            for name, states in _ONLY_WITH.values()
        ),
        *(
            {
                "if": {"properties": {"state": {"const": state}}},
                "then": {"required": [name], "properties": {name: {"type": "string"}}},
            }
            for state, name in (("waiting", "nextAttemptAt"), ("parked", "reason"))
        ),
    ],
}
_LINK_RULE: Final[JsonDict] = {
    "anyOf": [{"required": [name], "properties": {name: {"type": "string"}}} for name in sorted(LINK_NAMES)]
}


class BindingEvent(WireModel):
    """What both events out have in common."""

    binding_id: Id128
    """The binding; key of the record."""
    saga_id: Id64
    """The saga that this event belongs to."""
    request_ids: Annotated[tuple[Id256, ...], Field(strict=False, min_length=1)]
    """`ce_id` of all requests that this saga answers, the first one first."""
    sequence: int = Field(ge=1)
    """1, 2, 3 … within the saga, without a gap."""


class BindingStateChanged(BindingEvent):
    """One transition of a saga (`binding.state.changed.v1`); absent fields are left out."""

    model_config = ConfigDict(json_schema_extra=_STATE_RULES)
    type: ClassVar[str] = BINDING_STATE_CHANGED

    state: State = Field(strict=False)
    """Where the saga stands now; `offered` has an event of its own."""
    done: Annotated[tuple[Annotated[Step, Field(strict=False)], ...], Field(strict=False)] = ()
    """Steps completed so far."""
    step: Step | None = Field(default=None, strict=False)
    """Step of the result that caused this transition."""
    outcome: Outcome | None = Field(default=None, strict=False)
    """Outcome of that result."""
    result_code: Id64 | None = None
    """Result code of that result."""
    result_message: Id256 | None = None
    """Result message of that result, cleaned."""
    attempts: int = Field(default=0, ge=0)
    """Attempts made at this step so far."""
    next_attempt_at: Moment | None = None
    """With `waiting`, and with `joined` where it woke a consult: no attempt is made before."""
    refuse_reason: Id256 | None = None
    """With `refused`: what consult said."""
    reason: Reason | None = Field(default=None, strict=False)
    """With `parked`: why."""
    debits: Debits | None = Field(default=None, strict=False)
    """Whether the merchant may still debit; absent where unknown: a rebinding, an invalid request."""
    evidence: Evidence | None = Field(default=None, strict=False)
    """With `revoked` and `unbound` that were reached without an own success."""
    token_fingerprint: Id256 | None = None
    """Keyed fingerprint of the token, never the token."""
    at: Moment
    """When the transition was decided."""

    @model_validator(mode="after")
    def _fits_state(self) -> Self:
        if self.state is State.OFFERED:
            raise ValueError(f"state offered belongs to {BINDING_REBIND_OFFERED}")
        for field, (name, states) in _ONLY_WITH.items():
            if getattr(self, field) is not None and self.state not in states:
                raise ValueError(f"{name} only goes with state {' or '.join(sorted(states))}")
        if self.state is State.WAITING and self.next_attempt_at is None:
            raise ValueError("nextAttemptAt is required with state waiting")
        if self.state is State.PARKED and self.reason is None:
            raise ValueError("reason is required with state parked")
        return self

    @property
    def at_ms(self) -> int:
        """When the transition was decided, in milliseconds since the Unix epoch."""
        return moment_ms(self.at)

    @property
    def next_attempt_at_ms(self) -> int | None:
        """The earliest next attempt in milliseconds since the Unix epoch, if one is planned."""
        return None if self.next_attempt_at is None else moment_ms(self.next_attempt_at)


Link = Annotated[str, StringConstraints(min_length=1, max_length=LINK_MAX, pattern=NO_BLANK)]


class BindingRebindOffered(BindingEvent):
    """A way to bind again was handed out (`binding.rebind.offered.v1`).

    The old edition of Authorization Consult gives `authUrl`, the present one up to three other links.
    """

    model_config = ConfigDict(json_schema_extra=_LINK_RULE)
    type: ClassVar[str] = BINDING_REBIND_OFFERED

    state: State = Field(default=State.OFFERED, strict=False, json_schema_extra={"const": "offered"})
    """Always `offered`."""
    done: Annotated[tuple[Annotated[Step, Field(strict=False)], ...], Field(strict=False)] = ()
    """Steps completed so far."""
    step: Step | None = Field(default=None, strict=False)
    """Step of the result that caused this transition."""
    outcome: Outcome | None = Field(default=None, strict=False)
    """Outcome of that result."""
    result_code: Id64 | None = None
    """Result code of that result."""
    result_message: Id256 | None = None
    """Result message of that result, cleaned."""
    attempts: int = Field(default=0, ge=0)
    """Attempts made at this step so far."""
    auth_url: Link | None = Field(default=None, repr=False)
    """Old edition: where the user authorises."""
    normal_url: Link | None = Field(default=None, repr=False)
    """Present edition: for a browser."""
    scheme_url: Link | None = Field(default=None, repr=False)
    """Present edition: opens the wallet's app by its scheme."""
    applink_url: Link | None = Field(default=None, repr=False)
    """Present edition: opens the wallet's app by a link of the platform."""
    at: Moment
    """When the links were handed out."""

    @model_validator(mode="after")
    def _has_link(self) -> Self:
        if self.state is not State.OFFERED:
            raise ValueError("state must be offered")
        if not (self.auth_url or self.normal_url or self.scheme_url or self.applink_url):
            raise ValueError("one of authUrl, normalUrl, schemeUrl, applinkUrl is required")
        return self

    @property
    def at_ms(self) -> int:
        """When the links were handed out, in milliseconds since the Unix epoch."""
        return moment_ms(self.at)


def state_event_id(saga_id: str, sequence: int) -> str:
    """Return the `ce_id` of a saga's event: the same for the same transition, however often it is written."""
    return f"{saga_id}:{sequence}"


def encode_state_changed(
    *,
    binding_id: str,
    saga_id: str,
    request_ids: Sequence[str],
    sequence: int,
    state: State,
    at: int,
    done: Sequence[Step] = (),
    step: Step | None = None,
    outcome: Outcome | None = None,
    result_code: str | None = None,
    result_message: str | None = None,
    attempts: int = 0,
    next_attempt_at: int | None = None,
    refuse_reason: str | None = None,
    reason: Reason | None = None,
    debits: Debits | None = None,
    evidence: Evidence | None = None,
    token_fingerprint: str | None = None,
) -> bytes:
    """Return the JSON of a `BindingStateChanged` without building the model: the worker's hot path.

    Moments are milliseconds since the Unix epoch. Nothing is checked here: the caller's types and the tests
    (equal to the model's JSON, byte for byte) stand for it.
    """
    fields: dict[str, Any] = {
        "bindingId": binding_id,
        "sagaId": saga_id,
        "requestIds": request_ids,
        "sequence": sequence,
        "state": state,
        "done": done,
    }
    if step is not None:
        fields["step"] = step
    if outcome is not None:
        fields["outcome"] = outcome
    if result_code is not None:
        fields["resultCode"] = result_code
    if result_message is not None:
        fields["resultMessage"] = result_message
    fields["attempts"] = attempts
    if next_attempt_at is not None:
        fields["nextAttemptAt"] = rfc3339(next_attempt_at)
    if refuse_reason is not None:
        fields["refuseReason"] = refuse_reason
    if reason is not None:
        fields["reason"] = reason
    if debits is not None:
        fields["debits"] = debits
    if evidence is not None:
        fields["evidence"] = evidence
    if token_fingerprint is not None:
        fields["tokenFingerprint"] = token_fingerprint
    fields["at"] = rfc3339(at)
    return orjson.dumps(fields)


def encode_rebind_offered(
    *,
    binding_id: str,
    saga_id: str,
    request_ids: Sequence[str],
    sequence: int,
    at: int,
    links: Mapping[str, str],
    done: Sequence[Step] = (),
    outcome: Outcome | None = None,
    result_code: str | None = None,
    result_message: str | None = None,
    attempts: int = 0,
) -> bytes:
    """Return the JSON of a `BindingRebindOffered` without building the model.

    `links` has one or more of `authUrl`, `normalUrl`, `schemeUrl`, `applinkUrl`; others raise `ValueError`.
    """
    if not links or not links.keys() <= LINK_NAMES:
        raise ValueError(f"links must be one or more of {', '.join(sorted(LINK_NAMES))}")
    fields: dict[str, Any] = {
        "bindingId": binding_id,
        "sagaId": saga_id,
        "requestIds": request_ids,
        "sequence": sequence,
        "state": State.OFFERED,
        "done": done,
        "step": Step.OFFER,
        "outcome": outcome,
        "resultCode": result_code,
        "resultMessage": result_message,
        "attempts": attempts,
        **links,
        "at": rfc3339(at),
    }
    return orjson.dumps({name: content for name, content in fields.items() if content is not None})


def read_state(event: IncomingEvent) -> BindingStateChanged | BindingRebindOffered:
    """Return the event that a record of the states topic carries; raises `InvalidEvent`."""
    if event.type == BINDING_STATE_CHANGED:
        return read_data(BindingStateChanged, event.data)
    if event.type == BINDING_REBIND_OFFERED:
        return read_data(BindingRebindOffered, event.data)
    raise InvalidEvent(
        f"ce_type must be {BINDING_STATE_CHANGED} or {BINDING_REBIND_OFFERED} on the states topic"
    )
