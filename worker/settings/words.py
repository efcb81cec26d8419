"""The closed lists of words that settings may say, and which counterpart performs which step."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from contracts.states import Step


class Profile(StrEnum):
    """The steps a worker may take, and with whom."""

    PLATFORM = "platform"
    """One operator for the wallet and the merchant side."""
    WALLET = "wallet"
    """A wallet (MPP) that revokes at its own token service and tells the hub."""
    ACQUIRER = "acquirer"
    """An acquirer (ACQP)."""
    ALIPAYHK_MERCHANT = "alipayhk_merchant"
    """A biller at AlipayHK."""
    ALIPAYHK_WALLET = "alipayhk_wallet"
    """The AlipayHK wallet towards its billers."""
    ANTOM_MERCHANT = "antom_merchant"
    """A merchant at Antom."""


class LogFormat(StrEnum):
    """How log lines look."""

    JSON = "json"
    """One JSON object a line, for machines."""
    CONSOLE = "console"
    """Aligned text, for people."""


class SecurityProtocol(StrEnum):
    """How the worker talks to the brokers."""

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"


class SaslMechanism(StrEnum):
    """How the worker proves to the brokers who it is."""

    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"


class Scheme(StrEnum):
    """Where a message carries its signature."""

    HEADER = "header"
    """In the HTTP header `Signature` (Alipay+, Antom)."""
    ENVELOPE = "envelope"
    """In the JSON member `signature` beside `request` or `response` (AlipayHK auto-debit)."""


class Hash(StrEnum):
    """The hash under an RSA signature, by the names that the payment side's documents use."""

    SHA256 = "SHA256withRSA"
    SHA1 = "SHA1withRSA"
    """The AlipayHK auto-debit pages ask for it; nobody else does."""


class Edition(StrEnum):
    """Which edition of cancelToken a token service speaks."""

    WALLET = "wallet"
    """With `pspId`, `acquirerId` and `accessToken`."""
    ACQUIRER = "acquirer"
    """With `accessToken` and `authClientId`."""


class AgreementStatus(StrEnum):
    """What a status word of queryByAuthInfo means."""

    ENDED = "ended"
    """The agreement is dead: the cancel had its effect."""
    LIVE = "live"
    """The agreement lives: the cancel had none."""


class CounterpartName(StrEnum):
    """The systems that are called."""

    HUB = "hub"
    """Alipay+: consult, notify_hub."""
    TOKENS = "tokens"
    """The token service: cancel_token."""
    ALIPAYHK = "alipayhk"
    """AlipayHK: cancel_agreement and its query."""
    MERCHANTS = "merchants"
    """The merchants: notify_merchant."""
    ANTOM = "antom"
    """Antom: offer, and cancel_token for the profile `antom_merchant`."""


_COUNTERPARTS: Final[Mapping[Step, CounterpartName]] = MappingProxyType(
    {
        Step.CONSULT: CounterpartName.HUB,
        Step.CANCEL_TOKEN: CounterpartName.TOKENS,
        Step.CANCEL_AGREEMENT: CounterpartName.ALIPAYHK,
        Step.NOTIFY_MERCHANT: CounterpartName.MERCHANTS,
        Step.NOTIFY_HUB: CounterpartName.HUB,
        Step.OFFER: CounterpartName.ANTOM,
    }
)


def counterpart_of(step: Step, *, profile: Profile) -> CounterpartName:
    """Return who is called for a step; Antom's merchants revoke at Antom itself."""
    if profile is Profile.ANTOM_MERCHANT and step is Step.CANCEL_TOKEN:
        return CounterpartName.ANTOM
    return _COUNTERPARTS[step]
