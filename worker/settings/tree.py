"""The tree of settings: every section and leaf, with its default and the sentence that documents it.

Names and defaults are public. A duration is an `int` in milliseconds inside, under a name in `_ms`, and text
with a unit outside, under its alias; a size is an `int` in bytes inside, and text with a unit outside.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainValidator, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from typing_extensions import override

from contracts.states import Step
from worker.settings.counterparts import Counterparts
from worker.settings.section import (
    FilePath,
    HostAndPort,
    Name,
    NameOrNothing,
    Section,
    Text,
    Wait,
    Whole,
)
from worker.settings.units import (
    DAY_MS,
    HOUR_MS,
    KIB,
    MIB,
    MINUTE_MS,
    SECOND_MS,
    Duration,
    Size,
    plain_text,
)
from worker.settings.words import LogFormat, Profile, SaslMechanism, SecurityProtocol


def _split_commas(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _consulted(value: object) -> Literal["on", "off"] | tuple[str, ...]:
    if value == "on":
        return "on"
    if value == "off":
        return "off"
    if isinstance(value, list | tuple) and value and all(isinstance(psp, str) for psp in value):
        return tuple(plain_text(psp) for psp in value)
    raise ValueError("is neither `on` nor `off` nor a list of pspId")


class Kafka(Section):
    """How to reach Kafka, and how long to wait for it."""

    bootstrap_servers: Annotated[tuple[HostAndPort, ...], BeforeValidator(_split_commas)] = Field(
        default=("localhost:9092",), min_length=1
    )
    """Brokers to start from: a list of `host:port`, or text with commas."""
    security_protocol: SecurityProtocol = SecurityProtocol.PLAINTEXT
    """How to talk to the brokers: `PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`."""
    sasl_mechanism: SaslMechanism = SaslMechanism.SCRAM_SHA_512
    """With SASL: `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`."""
    sasl_username: Text | None = Field(default=None, examples=["unbinding"])
    """With SASL: who the worker is."""
    sasl_password: SecretStr | None = Field(default=None, min_length=1, examples=["better-in-a-file"])
    """With SASL: the password; better from the environment or from `sasl_password_file`."""
    sasl_password_file: FilePath | None = Field(default=None, examples=["/run/secrets/kafka-password"])
    """With SASL: file that holds the password and nothing else; excludes `sasl_password`."""
    ssl_ca_file: FilePath | None = Field(default=None, examples=["/etc/unbinding/kafka-ca.pem"])
    """With SSL: certificates (PEM) that the brokers' are checked against; left out: the system's."""
    ssl_cert_file: FilePath | None = Field(default=None, examples=["/etc/unbinding/kafka-client.pem"])
    """With SSL: the worker's own certificate (PEM), if the brokers ask for one."""
    ssl_key_file: FilePath | None = Field(default=None, examples=["/run/secrets/kafka-client.key"])
    """With SSL: private key (PEM) of `ssl_cert_file`."""
    ssl_key_password_file: FilePath | None = Field(
        default=None, examples=["/run/secrets/kafka-client.key.password"]
    )
    """With SSL: file that holds the password of `ssl_key_file` and nothing else."""
    session_timeout_ms: Annotated[int, Duration(at_least="6s", at_most="5m")] = Field(
        default=25 * SECOND_MS, alias="session_timeout"
    )
    """A worker silent for so long loses its partitions; with `instance_id` a restart within it moves none."""
    rebalance_timeout_ms: Annotated[int, Duration(at_least="10s", at_most="10m")] = Field(
        default=60 * SECOND_MS, alias="rebalance_timeout"
    )
    """How long the group waits for a worker to let go of its partitions."""
    drain_timeout_ms: Annotated[int, Duration(at_least="1s", at_most="5m")] = Field(
        default=15 * SECOND_MS, alias="drain_timeout"
    )
    """How long calls in flight may take before a partition is let go; well below `rebalance_timeout`."""
    restore_timeout_ms: Annotated[int, Duration(at_least="5s", at_most="1h")] = Field(
        default=2 * MINUTE_MS, alias="restore_timeout"
    )
    """How long reading a shard's journal may stand still before the shard stays closed and says so."""
    transaction_timeout_ms: Annotated[int, Duration(at_least="5s", at_most="1m")] = Field(
        default=10 * SECOND_MS, alias="transaction_timeout"
    )
    """The brokers abort a dead worker's open transaction after this; readers wait behind it no longer."""
    request_timeout_ms: Annotated[int, Duration(at_least="1s", at_most="2m")] = Field(
        default=20 * SECOND_MS, alias="request_timeout"
    )
    """How long a single request to a broker may take."""


class Topics(Section):
    """How the topics are named and laid out."""

    prefix: NameOrNothing = ""
    """Put in front of every topic name, as it is."""
    partitions: Whole = Field(default=12, ge=1, le=1_000)
    """Partitions of each co-partitioned topic; fixed for the life of an installation."""
    replication: Whole = Field(default=3, ge=1, le=9)
    """Copies of each partition; 3 in production."""


class Steps(Section):
    """Steps that can be switched off."""

    consult: Annotated[Literal["on", "off"] | tuple[str, ...], PlainValidator(_consulted)] = "on"
    """`on`, `off`, or the list of `pspId` of wallets that are not consulted."""
    notify_hub: Literal["on", "off"] = "on"
    """`on` or `off`: whether the hub is told of a token that the wallet revoked by itself."""


class Operators(Section):
    """Who may replay and discard."""

    public_key_files: Mapping[Name, FilePath] = Field(default_factory=dict)
    """Ed25519 public keys (PEM): operator to file; with any here, unsigned commands are refused."""


class StepPatience(Section):
    """The attempts and the time a step may take; counted from its first attempt."""

    quick: Whole = Field(default=2, ge=0, le=10)
    """Quick tries in process after the first attempt of a call."""
    waits_ms: tuple[Wait, ...] = Field(min_length=1, max_length=50, alias="waits")
    """Durable waits between calls, each ± 10 %; the last one repeats."""
    give_up_after_ms: Wait = Field(alias="give_up_after")
    """A step gives up when its next wait would end beyond this."""


class ConsultPatience(StepPatience):
    """Patience with consult; used up: the saga lapses."""

    waits_ms: tuple[Wait, ...] = Field(
        default=(2 * SECOND_MS, 5 * SECOND_MS, 10 * SECOND_MS, 30 * SECOND_MS),
        min_length=1,
        max_length=50,
        alias="waits",
    )
    """Durable waits between calls, each ± 10 %; the last one repeats."""
    give_up_after_ms: Wait = Field(default=2 * MINUTE_MS, alias="give_up_after")
    """A step gives up when its next wait would end beyond this."""


class RevokePatience(StepPatience):
    """Patience with a revocation; used up: the saga is parked."""

    waits_ms: tuple[Wait, ...] = Field(
        default=(
            5 * SECOND_MS,
            30 * SECOND_MS,
            MINUTE_MS,
            2 * MINUTE_MS,
            5 * MINUTE_MS,
            10 * MINUTE_MS,
            30 * MINUTE_MS,
            HOUR_MS,
        ),
        min_length=1,
        max_length=50,
        alias="waits",
    )
    """Durable waits between calls, each ± 10 %; the last one repeats."""
    give_up_after_ms: Wait = Field(default=DAY_MS, alias="give_up_after")
    """A step gives up when its next wait would end beyond this."""


class NotifyPatience(StepPatience):
    """Patience with telling others; used up: the saga is parked."""

    # The ladder that AlipayHK uses for its own notices (AlipayHK auto-debit, notify.cancel).
    waits_ms: tuple[Wait, ...] = Field(
        default=(
            2 * MINUTE_MS,
            10 * MINUTE_MS,
            10 * MINUTE_MS,
            HOUR_MS,
            2 * HOUR_MS,
            6 * HOUR_MS,
            15 * HOUR_MS,
        ),
        min_length=1,
        max_length=50,
        alias="waits",
    )
    """Durable waits between calls, each ± 10 %; the last one repeats."""
    give_up_after_ms: Wait = Field(default=25 * HOUR_MS, alias="give_up_after")
    """A step gives up when its next wait would end beyond this."""


class OfferPatience(StepPatience):
    """Patience with the offer; used up: the saga lapses."""

    waits_ms: tuple[Wait, ...] = Field(
        default=(5 * SECOND_MS, 15 * SECOND_MS), min_length=1, max_length=50, alias="waits"
    )
    """Durable waits between calls, each ± 10 %; the last one repeats."""
    give_up_after_ms: Wait = Field(default=MINUTE_MS, alias="give_up_after")
    """A step gives up when its next wait would end beyond this."""


class Patience(Section):
    """How long each step is tried."""

    consult: ConsultPatience = Field(default_factory=ConsultPatience)
    """Patience with consult; used up: the saga lapses."""
    cancel_token: RevokePatience = Field(default_factory=RevokePatience)
    """Patience with cancel_token; used up: the saga is parked."""
    cancel_agreement: RevokePatience = Field(default_factory=RevokePatience)
    """Patience with cancel_agreement; used up: the saga is parked."""
    notify_merchant: NotifyPatience = Field(default_factory=NotifyPatience)
    """Patience with notify_merchant; used up: the saga is parked."""
    notify_hub: NotifyPatience = Field(default_factory=NotifyPatience)
    """Patience with notify_hub; used up: the saga is parked."""
    offer: OfferPatience = Field(default_factory=OfferPatience)
    """Patience with offer; used up: the saga lapses."""

    def of(self, step: Step) -> StepPatience:
        """Return the patience with one step."""
        found: StepPatience = getattr(self, step.value)
        return found


class Limits(Section):
    """What a worker takes on at most."""

    live_sagas: Whole = Field(default=20_000, ge=1, le=10_000_000)
    """Live sagas of a shard; above it the shard takes no more requests until some have ended."""
    live_bytes: Annotated[int, Size(at_least="1MiB", at_most="64GiB")] = 256 * MIB
    """Memory that the live sagas of a shard may take; above it the shard takes no more requests."""
    in_flight: Whole = Field(default=256, ge=1, le=10_000)
    """HTTP attempts that one worker has open at the same time; counterparts that want more share them out."""
    record_bytes: Annotated[int, Size(at_least="1KiB", at_most="1MiB")] = 256 * KIB
    """Larger records are not copied; their letter names origin and SHA-256 only."""


class Sealing(Section):
    """The keys that seal requests and fingerprint tokens; both files are made by `unbinding keys new`."""

    keys_file: FilePath | None = Field(default=None, examples=["/run/secrets/sealing-keys.toml"])
    """Key ring that requests are sealed with."""
    active: Name | None = Field(default=None, examples=["2026-01"])
    """Id of the key in `keys_file` that seals what is new; may be left out where it has one key."""
    fingerprint_keys_file: FilePath | None = Field(
        default=None, examples=["/run/secrets/fingerprint-keys.toml"]
    )
    """Key ring of the fingerprints."""
    fingerprint_active: Name | None = Field(default=None, examples=["2026-01"])
    """Id of the key in `fingerprint_keys_file` that is used for what is new; may be left out with one key."""


class Remember(Section):
    """How long finished requests are known, so that a repetition is recognised."""

    time_ms: Annotated[int, Duration(at_least="1m", at_most="365d")] = Field(default=7 * DAY_MS, alias="time")
    """For how long; less if `bytes` is used up first."""
    bytes_per_shard: Annotated[int, Size(at_least="64KiB", at_most="16GiB")] = Field(
        default=64 * MIB, alias="bytes"
    )
    """In how much memory of each shard; the oldest go first."""


class Http(Section):
    """Health and metrics."""

    address: HostAndPort = "127.0.0.1:8080"
    """Where to listen; `0.0.0.0:8080` in a container."""


class Settings(BaseSettings):
    """All settings of a worker, read once at its start; see the module for units."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    application: Name = "unbinding"
    """Kafka group id, and prefix of the transactional ids; the same for all workers of an installation."""
    profile: Profile = Profile.PLATFORM
    """The steps this worker may take, and with whom."""
    instance_id: Name | None = Field(default=None, examples=["unbinding-0"])
    """Unique and stable name of this process (a pod's name), so that a restart moves no partition."""
    log_format: LogFormat = LogFormat.JSON
    """`json` for machines or `console` for people."""

    kafka: Kafka = Field(default_factory=Kafka)
    topics: Topics = Field(default_factory=Topics)
    counterparts: Counterparts = Field(default_factory=Counterparts)
    steps: Steps = Field(default_factory=Steps)
    operators: Operators = Field(default_factory=Operators)
    patience: Patience = Field(default_factory=Patience)
    limits: Limits = Field(default_factory=Limits)
    sealing: Sealing = Field(default_factory=Sealing)
    remember: Remember = Field(default_factory=Remember)
    http: Http = Field(default_factory=Http)

    @classmethod
    @override
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what `load` hands over and nothing else: it knows where each value came from."""
        return (init_settings,)
