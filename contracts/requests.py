"""What upstream asks for: to end a binding, or to bind again.

Errors: `contracts.wire.InvalidEvent`.
"""

from enum import StrEnum
from typing import Annotated, ClassVar, Final, Self

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, WithJsonSchema, model_validator

from contracts.cloudevents import IncomingEvent
from contracts.wire import (
    HTTP_URL,
    NO_CONTROL,
    PATH_SEGMENT,
    Id16,
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

UNBINDING_REQUESTED: Final = "unbinding.requested.v1"
REBINDING_REQUESTED: Final = "rebinding.requested.v1"

ACCESS_TOKEN_MAX: Final = 128
SEALED_TOKEN_MAX: Final = 1024
SEALED_TOKEN_PREFIX: Final = "sealed:"  # noqa: S105 - marks a sealed token, is none
PASS_THROUGH_INFO_MAX: Final = 20_000
EXTEND_INFO_MAX: Final = 4096
REDIRECT_URL_MAX: Final = 1024


def _check_token(token: str) -> str:
    if len(token) > ACCESS_TOKEN_MAX and not token.startswith(SEALED_TOKEN_PREFIX):
        raise ValueError(
            f"must have at most {ACCESS_TOKEN_MAX} characters, or be sealed ({SEALED_TOKEN_PREFIX}…)"
        )
    return token


AccessToken = Annotated[
    str,
    StringConstraints(min_length=1, max_length=SEALED_TOKEN_MAX, pattern=NO_CONTROL),
    AfterValidator(_check_token),
    WithJsonSchema(
        {
            "type": "string",
            "minLength": 1,
            "pattern": NO_CONTROL,
            "anyOf": [
                {"maxLength": ACCESS_TOKEN_MAX},
                {"maxLength": SEALED_TOKEN_MAX, "pattern": f"^{SEALED_TOKEN_PREFIX}"},
            ],
        }
    ),
]
"""A token of at most 128 characters, or one that upstream sealed for us: `sealed:` and more, up to 1,024."""


class Initiator(StrEnum):
    """Where the user asked to unbind."""

    WALLET = "wallet"
    MERCHANT = "merchant"


class ActivatedVia(StrEnum):
    """Where the user switched auto-debit on (AlipayHK, Enable or Disable auto-debit)."""

    BILLS_AND_UTILITIES = "bills_and_utilities"
    """In the wallet's bills; an unbinding in the wallet must end the agreement, too."""
    MERCHANT = "merchant"
    """At the merchant; only the merchant ends it."""


class Scope(StrEnum):
    """What the user is asked to authorise (Antom, Authorization Consult)."""

    BASE_USER_INFO = "BASE_USER_INFO"
    USER_INFO = "USER_INFO"
    AGREEMENT_PAY = "AGREEMENT_PAY"


class TerminalType(StrEnum):
    """The terminal on which the user binds again (Antom, Authorization Consult)."""

    WEB = "WEB"
    WAP = "WAP"
    APP = "APP"
    MINI_APP = "MINI_APP"
    """Present edition only."""


class OsType(StrEnum):
    """The operating system of the user's terminal (Antom, Authorization Consult)."""

    IOS = "IOS"
    ANDROID = "ANDROID"


class Agreement(WireModel):
    """An AlipayHK auto-debit agreement (AlipayHK auto-debit, cancelByAuthInfo)."""

    auth_merchant_id: Id64 = Field(repr=False)
    """Merchant that holds the authorization."""
    merchant_agreement_id: Id32 = Field(repr=False)
    """Agreement id, made and kept by the merchant."""
    activated_via: ActivatedVia = Field(strict=False)
    """Where the user switched auto-debit on."""


class MerchantAccount(WireModel):
    """The account at the merchant that is tied to the wallet (AlipayHK, accountUnbinding)."""

    merchant_tag: Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=PATH_SEGMENT)]
    """The merchant's segment of the URL path."""
    merchant_account_id: Id64 = Field(repr=False)
    """Merchant id given by the wallet."""
    sub_merchant_id: Id64 = Field(repr=False)
    """Merchant below that one."""
    account_id: Id64 = Field(repr=False)
    """Bill account at the merchant: the thing to unbind."""
    open_id: Id64 = Field(repr=False)
    """The user, as the merchant knows the wallet's user."""
    auth_site_user_id: Id64 = Field(repr=False)
    """The user, as the wallet knows the user."""
    extend_info: Annotated[str, StringConstraints(min_length=1, max_length=EXTEND_INFO_MAX)] | None = Field(
        default=None, repr=False
    )
    """JSON text for the merchant, handed on as it is."""


class UnbindingRequested(WireModel):
    """A user asked to unbind, at the wallet or at the merchant.

    Lengths are those of consultUnbinding and cancelToken (Alipay+, wallet edition) and of cancelByAuthInfo.
    Which fields a worker needs beyond these rules depends on its profile; the worker says so.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": [name], "properties": {name: {"not": {"type": "null"}}}}
                for name in ("accessToken", "agreement", "merchantAccount")
            ],
            "if": {"required": ["accessToken"], "properties": {"accessToken": {"type": "string"}}},
            "then": {
                "required": ["authClientId", "referenceMerchantId"],
                "properties": {
                    "authClientId": {"type": "string"},
                    "referenceMerchantId": {"type": "string"},
                },
            },
        }
    )
    type: ClassVar[str] = UNBINDING_REQUESTED

    binding_id: Id128
    """The binding to end; key of the record."""
    initiator: Initiator = Field(strict=False)
    """Where the user asked."""
    requested_at: Moment
    """When the user asked."""
    expires_at: Moment | None = None
    """After it nothing is begun: it guards everything before the first revoke attempt."""
    auth_client_id: Id64 | None = None
    """The party that the user authorised; required with a token."""
    reference_merchant_id: Id32 | None = None
    """The merchant; required with a token."""
    access_token: AccessToken | None = Field(default=None, repr=False)
    """The token to revoke, plain (at most 128 characters) or sealed for this worker (`sealed:` and more)."""
    psp_id: Id64 | None = None
    """The wallet; needed where consult does not give it."""
    acquirer_id: Id64 | None = None
    """The acquirer; needed where consult does not give it."""
    pass_through_info: (
        Annotated[str, StringConstraints(min_length=1, max_length=PASS_THROUGH_INFO_MAX)] | None
    ) = Field(default=None, repr=False)
    """Handed to cancelToken as it is."""
    agreement: Agreement | None = None
    """The auto-debit agreement to end."""
    merchant_account: MerchantAccount | None = None
    """The account at the merchant to unbind."""

    @property
    def requested_at_ms(self) -> int:
        """When the user asked, in milliseconds since the Unix epoch."""
        return moment_ms(self.requested_at)

    @property
    def expires_at_ms(self) -> int | None:
        """The end of the user's time in milliseconds since the Unix epoch, if there is one."""
        return None if self.expires_at is None else moment_ms(self.expires_at)

    @property
    def token_is_sealed(self) -> bool:
        """Whether upstream sealed the token for this worker."""
        return self.access_token is not None and self.access_token.startswith(SEALED_TOKEN_PREFIX)

    @model_validator(mode="after")
    def _has_targets(self) -> Self:
        if self.access_token is None:
            if self.agreement is None and self.merchant_account is None:
                raise ValueError("one of accessToken, agreement, merchantAccount is required")
        elif self.auth_client_id is None:
            raise ValueError("authClientId is required with accessToken")
        elif self.reference_merchant_id is None:
            raise ValueError("referenceMerchantId is required with accessToken")
        return self


class RebindingRequested(WireModel):
    """A user wants to bind again: asks for links (Antom, Authorization Consult, old and present edition)."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"properties": {"terminalType": {"enum": ["APP", "WAP"]}}},
            "then": {
                "required": ["osType", "osVersion"],
                "properties": {"osType": {"type": "string"}, "osVersion": {"type": "string"}},
            },
        }
    )
    type: ClassVar[str] = REBINDING_REQUESTED

    binding_id: Id128
    """The binding that the user wants again; key of the record."""
    customer_belongs_to: Id64
    """The wallet, such as `ALIPAY_HK` (the old edition takes at most 16 characters)."""
    auth_client_id: Id64 | None = None
    """The merchant below the caller, where there is one."""
    auth_redirect_url: Annotated[
        str, StringConstraints(min_length=1, max_length=REDIRECT_URL_MAX, pattern=HTTP_URL)
    ] = Field(repr=False)
    """Where the user returns to: an http or https URL."""
    scopes: Annotated[
        tuple[Annotated[Scope, Field(strict=False)], ...], Field(strict=False, min_length=1, max_length=4)
    ]
    """What the user is asked to authorise."""
    auth_state: Id256 = Field(repr=False)
    """Made by the merchant, who checks it when the user returns."""
    terminal_type: TerminalType = Field(strict=False)
    """The user's terminal."""
    os_type: OsType | None = Field(default=None, strict=False)
    """Required with `APP` and `WAP`."""
    os_version: Id16 | None = None
    """Required with `APP` and `WAP`."""
    expires_at: Moment | None = None
    """After it no link is handed out."""

    @property
    def expires_at_ms(self) -> int | None:
        """The end of the user's time in milliseconds since the Unix epoch, if there is one."""
        return None if self.expires_at is None else moment_ms(self.expires_at)

    @model_validator(mode="after")
    def _has_os(self) -> Self:
        if self.terminal_type in (TerminalType.APP, TerminalType.WAP):
            if self.os_type is None:
                raise ValueError("osType is required with terminalType APP or WAP")
            if self.os_version is None:
                raise ValueError("osVersion is required with terminalType APP or WAP")
        return self


def read_request(event: IncomingEvent) -> UnbindingRequested | RebindingRequested:
    """Return the request that a record of the requests topic carries; raises `InvalidEvent`."""
    if event.type == UNBINDING_REQUESTED:
        return read_data(UnbindingRequested, event.data)
    if event.type == REBINDING_REQUESTED:
        return read_data(RebindingRequested, event.data)
    raise InvalidEvent(
        f"ce_type must be {UNBINDING_REQUESTED} or {REBINDING_REQUESTED} on the requests topic"
    )
