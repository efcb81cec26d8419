"""Evidence that arrived elsewhere: a token or an agreement is dead.

Errors: `contracts.wire.InvalidEvent`.
"""

from typing import Annotated, ClassVar, Final, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from contracts.cloudevents import IncomingEvent
from contracts.requests import AccessToken
from contracts.wire import (
    FINGERPRINT,
    Id32,
    Id64,
    Id128,
    InvalidEvent,
    Moment,
    WireModel,
    moment_ms,
    read_data,
)

TOKEN_CANCELED: Final = "token.canceled.v1"  # noqa: S105 - the type of an event

TokenFingerprint = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=FINGERPRINT)]
"""Keyed fingerprint of a token: key id, `:`, and the digest."""


class TokenCanceled(WireModel):
    """A notice that upstream received: a token was canceled, or an agreement stopped.

    From Alipay+ authNotify `TOKEN_CANCELED`, Antom notifyAuthorization, or AlipayHK notify.cancel.
    It names a token (itself or its fingerprint), or both ids of an agreement, or both kinds.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": [name], "properties": {name: {"type": "string"}}}
                for name in ("accessToken", "tokenFingerprint", "authMerchantId")
            ],
            "allOf": [
                {
                    "if": {"required": [one], "properties": {one: {"type": "string"}}},
                    "then": {"required": [other], "properties": {other: {"type": "string"}}},
                }
                for one, other in (
                    ("authMerchantId", "merchantAgreementId"),
                    ("merchantAgreementId", "authMerchantId"),
                )
            ],
        }
    )
    type: ClassVar[str] = TOKEN_CANCELED

    notice_id: Id128
    """Identity of the notice where it was received."""
    at: Moment
    """When the counterpart says that it happened; if it does not say, when the notice was received."""
    binding_id: Id128 | None = None
    """The binding, where upstream knows it; otherwise the notice goes to every partition."""
    access_token: AccessToken | None = Field(default=None, repr=False)
    """The dead token, plain or sealed for the worker."""
    token_fingerprint: TokenFingerprint | None = None
    """Fingerprint of the dead token; the worker writes it in place of the token when it broadcasts."""
    auth_merchant_id: Id64 | None = Field(default=None, repr=False)
    """Merchant of the dead agreement."""
    merchant_agreement_id: Id32 | None = Field(default=None, repr=False)
    """Id of the dead agreement."""

    @property
    def at_ms(self) -> int:
        """When it happened, in milliseconds since the Unix epoch."""
        return moment_ms(self.at)

    @model_validator(mode="after")
    def _names_a_target(self) -> Self:
        if (self.auth_merchant_id is None) != (self.merchant_agreement_id is None):
            raise ValueError("authMerchantId and merchantAgreementId only go together")
        if self.access_token is None and self.token_fingerprint is None and self.auth_merchant_id is None:
            raise ValueError(
                "one of accessToken, tokenFingerprint, authMerchantId and merchantAgreementId is required"
            )
        return self


def read_notice(event: IncomingEvent) -> TokenCanceled:
    """Return the notice that a record of the notices topic carries; raises `InvalidEvent`."""
    if event.type == TOKEN_CANCELED:
        return read_data(TokenCanceled, event.data)
    raise InvalidEvent(f"ce_type must be {TOKEN_CANCELED} on the notices topic")
