"""The section of the systems that are called: what is common to them, and the defaults of each."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from contracts.states import Step
from worker.settings.section import BaseUrl, FilePath, Number, Section, Text, UrlPath, Whole
from worker.settings.units import SECOND_MS, Duration
from worker.settings.words import AgreementStatus, CounterpartName, Edition, Hash, Scheme


class Counterpart(Section):
    """One system that is called, with its client id, keys and limits."""

    base_url: BaseUrl = Field(examples=["https://counterpart.example"])
    """Scheme, host and port, perhaps the start of all paths: `https://open-sea-global.alipayplus.com`."""
    client_id: Text = Field(examples=["CLIENT000000001"])
    """The client id that the counterpart gave us."""
    key_version: Text = "1"
    """Version of our key pair, as the counterpart knows it."""
    private_key_file: FilePath = Field(examples=["/run/secrets/counterpart.private.pem"])
    """Our private key for this counterpart: RSA, PEM (PKCS #8), at best mode 0400."""
    private_key_password_file: FilePath | None = Field(
        default=None, examples=["/run/secrets/counterpart.private.password"]
    )
    """File that holds the password of `private_key_file` and nothing else, if it has one."""
    public_key_files: Mapping[Text, FilePath] = Field(
        min_length=1, examples=[{"1": "/etc/unbinding/counterpart.1.pem"}]
    )
    """The counterpart's public keys (PEM): key version to file; keep the old one while it changes."""
    paths: Mapping[Text, UrlPath] = Field(default_factory=dict)
    """Path of each API: step to path, and `query` for queryByAuthInfo."""
    scheme: Scheme = Scheme.HEADER
    """Where messages carry their signature: `header` or `envelope`."""
    hash: Hash = Hash.SHA256
    """Hash of the signatures: `SHA256withRSA` or `SHA1withRSA`."""
    query_words: Mapping[Text, AgreementStatus] = Field(default_factory=dict)
    """Status words of queryByAuthInfo: word to `ended` or `live`; an unlisted one means doubt."""
    edition: Edition = Edition.WALLET
    """Edition of cancelToken: `wallet` or `acquirer`; only `tokens` looks at it."""
    timeout_ms: Annotated[int, Duration(at_least="100ms", at_most="1m")] = Field(
        default=5 * SECOND_MS, alias="timeout"
    )
    """How long one attempt may take as a whole."""
    in_flight: Whole = Field(default=64, ge=1, le=10_000)
    """Attempts that one worker has open at this counterpart at the same time, at most."""
    rate: Number = Field(default=1_000.0, gt=0, le=100_000)
    """Attempts that one worker begins a second, at most; goes down by itself when asked to slow down."""
    ca_file: FilePath | None = Field(default=None, examples=["/etc/unbinding/counterpart-ca.pem"])
    """Certificates (PEM) that the server's is checked against; left out: the system's."""
    client_cert_file: FilePath | None = Field(default=None, examples=["/run/secrets/counterpart-client.pem"])
    """Our client certificate with its private key (PEM), if the server asks for one."""


class Hub(Counterpart):
    """Alipay+: consult, notify_hub."""

    paths: Mapping[Text, UrlPath] = Field(
        default_factory=lambda: {
            Step.CONSULT.value: "/aps/api/v1/authorizations/consultUnbinding",
            Step.NOTIFY_HUB.value: "/aps/api/v1/authorizations/authNotify",
        }
    )
    """Path of each API: `consult`, `notify_hub`."""


class Tokens(Counterpart):
    """The token service: cancel_token."""

    paths: Mapping[Text, UrlPath] = Field(
        default_factory=lambda: {Step.CANCEL_TOKEN.value: "/aps/api/v1/authorizations/cancelToken"}
    )
    """Path of each API: `cancel_token`."""


class AlipayHK(Counterpart):
    """AlipayHK: cancel_agreement and its query."""

    # No default: the documents print no path for these two APIs.
    paths: Mapping[Text, UrlPath] = Field(default_factory=dict)
    """Path of each API: `cancel_agreement`, `query`."""
    scheme: Scheme = Scheme.ENVELOPE
    """Where messages carry their signature: `header` or `envelope`."""
    hash: Hash = Hash.SHA1
    """Hash of the signatures: `SHA256withRSA` or `SHA1withRSA`."""


class Merchants(Counterpart):
    """The merchants: notify_merchant."""

    paths: Mapping[Text, UrlPath] = Field(
        default_factory=lambda: {Step.NOTIFY_MERCHANT.value: "/{merchantTag}/api/merchant/accountUnbinding"}
    )
    """Path of each API: `notify_merchant`, with `{merchantTag}` in it where merchants differ by path."""
    scheme: Scheme = Scheme.ENVELOPE
    """Where messages carry their signature: `header` or `envelope`."""
    hash: Hash = Hash.SHA1
    """Hash of the signatures: `SHA256withRSA` or `SHA1withRSA`."""


class Antom(Counterpart):
    """Antom: offer, and cancel_token for the profile `antom_merchant`."""

    paths: Mapping[Text, UrlPath] = Field(
        default_factory=lambda: {
            Step.CANCEL_TOKEN.value: "/ams/api/v1/authorizations/revoke",
            Step.OFFER.value: "/ams/api/v1/authorizations/consult",
        }
    )
    """Path of each API: `cancel_token`, `offer`."""


class Counterparts(Section):
    """The systems that are called; a step whose counterpart is left out is never taken."""

    hub: Hub | None = None
    """Alipay+: consult, notify_hub."""
    tokens: Tokens | None = None
    """The token service: cancel_token."""
    alipayhk: AlipayHK | None = None
    """AlipayHK: cancel_agreement and its query."""
    merchants: Merchants | None = None
    """The merchants: notify_merchant."""
    antom: Antom | None = None
    """Antom: offer, and cancel_token for the profile `antom_merchant`."""

    def get(self, name: CounterpartName) -> Counterpart | None:
        """Return the counterpart of this name, `None` where it is not configured."""
        found: Counterpart | None = getattr(self, name.value)
        return found
