"""Checks that need more than one leaf, or the files that leaves name: to tell now what would fail later."""

import os
import re
import stat
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Final, Literal, Protocol
from urllib.parse import urlsplit

from contracts.states import Step
from worker.settings.counterparts import Counterpart
from worker.settings.load import Loaded
from worker.settings.outline import leaves
from worker.settings.sources import Source, shown
from worker.settings.tree import Kafka, Patience, Settings
from worker.settings.units import format_duration, is_loopback
from worker.settings.words import (
    CounterpartName,
    Edition,
    Profile,
    SaslMechanism,
    SecurityProtocol,
    counterpart_of,
)

QUERY: Final = "query"
"""The key in `paths` of queryByAuthInfo; the others are names of steps."""
MERCHANT_TAG: Final = "{merchantTag}"
PRODUCTION_REPLICATION: Final = 3

_PRIVATE: Final = re.compile(rb"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----")
_PUBLIC: Final = re.compile(rb"-----BEGIN (?:(?:RSA )?PUBLIC KEY|CERTIFICATE)-----")
_CERTIFICATE: Final = re.compile(rb"-----BEGIN (?:TRUSTED )?CERTIFICATE-----")
_FILE_MOST: Final = 4 * 1024 * 1024


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    """The worker could not do its work, or would be unsafe: it must not start."""
    WARNING = "warning"
    """It can work; somebody should know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that a check found. No text has a value of a secret or the content of a file in it."""

    severity: Severity
    name: str
    """The leaf or section."""
    what: str
    remedy: str


RingPurpose = Literal["sealing", "fingerprints"]
"""What the keys of a ring are for; each file says it."""


class RingIds(Protocol):
    """Reads the ids of a key ring, and no keys, from a file."""

    def __call__(self, path: Path, *, purpose: RingPurpose) -> Collection[str]:
        """Return the ids. Raises `ValueError` with a message fit to show, or `OSError`."""
        ...


def check(loaded: Loaded, *, steps: Sequence[Step], ring_ids: RingIds) -> tuple[Finding, ...]:
    """Return what is wrong or doubtful, errors first.

    `steps` are those of the settings' profile, configured or not.
    """
    settings = loaded.settings
    found = [
        *_steps(settings, steps),
        *(finding for name in CounterpartName for finding in _counterpart(settings, name, steps)),
        *_operators(settings),
        *_sealing(settings, ring_ids),
        *_patience(settings.patience),
        *_kafka(settings.kafka),
        *_defaults(loaded),
        *_secrets(loaded),
    ]
    return tuple(sorted(found, key=lambda finding: finding.severity is not Severity.ERROR))


def _error(name: str, what: str, remedy: str) -> Finding:
    return Finding(severity=Severity.ERROR, name=name, what=what, remedy=remedy)


def _warning(name: str, what: str, remedy: str) -> Finding:
    return Finding(severity=Severity.WARNING, name=name, what=what, remedy=remedy)


def _off(settings: Settings) -> set[Step]:
    switches = {Step.CONSULT: settings.steps.consult, Step.NOTIFY_HUB: settings.steps.notify_hub}
    return {step for step, switch in switches.items() if switch == "off"}


def _steps(settings: Settings, steps: Sequence[Step]) -> Iterator[Finding]:
    missing = {
        step: name
        for step in steps
        if settings.counterparts.get(name := counterpart_of(step, profile=settings.profile)) is None
    }
    off = _off(settings)
    if not set(steps) - set(missing) - off:
        yield _error(
            "profile",
            f"{settings.profile} has no step that can run",
            "configure at least one of: "
            + ", ".join(
                sorted({f"counterparts.{counterpart_of(s, profile=settings.profile)}" for s in steps})
            ),
        )
        return
    for step, name in missing.items():
        if step in off:
            continue
        what = f"step {step} of profile {settings.profile} never runs: its counterpart is left out"
        if step is Step.CONSULT and Step.CANCEL_TOKEN not in missing:
            what += "; tokens are revoked without asking whether they may be"
        yield _warning(f"counterparts.{name}", what, "configure it, or leave it if that is meant")


def _counterpart(settings: Settings, name: CounterpartName, steps: Sequence[Step]) -> Iterator[Finding]:
    counterpart = settings.counterparts.get(name)
    if counterpart is None:
        return
    section = f"counterparts.{name}"
    mine = [
        step
        for step in steps
        if counterpart_of(step, profile=settings.profile) is name and step not in _off(settings)
    ]
    if not mine:
        what = f"no step of profile {settings.profile} that is on calls it"
        yield _warning(section, what, "remove it, or check `profile` and `steps`")
    yield from _paths(counterpart, section, mine)
    url = urlsplit(counterpart.base_url)
    if url.scheme == "http" and not is_loopback(url.hostname or ""):
        what = "is plain http to another machine: tokens would be readable on the way"
        yield _error(f"{section}.base_url", what, "use https")
    yield from _key_files(counterpart, section)
    if counterpart.in_flight > settings.limits.in_flight:
        what = "is above limits.in_flight, which holds over all counterparts"
        yield _warning(f"{section}.in_flight", what, "lower it, or raise limits.in_flight")
    if name is CounterpartName.TOKENS and mine:
        yield from _edition(settings.profile, counterpart.edition)


def _paths(counterpart: Counterpart, section: str, steps: Sequence[Step]) -> Iterator[Finding]:
    needed = [step.value for step in steps]
    if Step.CANCEL_AGREEMENT in steps:
        needed.append(QUERY)
        if not counterpart.query_words:
            what = "is empty: no query settles an undecided cancel, which then parks when patience is used up"
            yield _warning(f"{section}.query_words", what, "list the status words that AlipayHK gave you")
    known = [*(step.value for step in Step), QUERY]
    for key in needed:
        if key not in counterpart.paths:
            yield _error(f"{section}.paths", f"has no path for {key}", f'add it: {key} = "/…"')
    for key, path in counterpart.paths.items():
        if key not in known:
            near = get_close_matches(key, known, n=1)
            remedy = f"did you mean {near[0]}?" if near else f"use one of: {', '.join(known)}"
            yield _error(f"{section}.paths", f"has a path for {shown(key)}, which is no step", remedy)
        rest = path.replace(MERCHANT_TAG, "") if key == Step.NOTIFY_MERCHANT else path
        if "{" in rest or "}" in rest:
            what = f"has braces in the path of {shown(key)} that stand for nothing"
            remedy = f"only the path of {Step.NOTIFY_MERCHANT} may hold {MERCHANT_TAG}"
            yield _error(f"{section}.paths", what, remedy)


def _edition(profile: Profile, edition: Edition) -> Iterator[Finding]:
    wanted = {Profile.WALLET: Edition.WALLET, Profile.ACQUIRER: Edition.ACQUIRER}.get(profile, edition)
    if edition is not wanted:
        what = f"is {edition}, but profile {profile} speaks the {wanted} edition"
        yield _error("counterparts.tokens.edition", what, f'set edition = "{wanted}"')


def _key_files(counterpart: Counterpart, section: str) -> Iterator[Finding]:
    yield from _file(
        f"{section}.private_key_file",
        counterpart.private_key_file,
        form=_PRIVATE,
        expected="a private key (PEM)",
    )
    yield from _private(f"{section}.private_key_file", counterpart.private_key_file)
    for version, path in counterpart.public_key_files.items():
        name = f"{section}.public_key_files[{version}]"
        yield from _file(name, path, form=_PUBLIC, expected="a public key (PEM)")
    if counterpart.private_key_password_file is not None:
        yield from _file(f"{section}.private_key_password_file", counterpart.private_key_password_file)
        yield from _private(f"{section}.private_key_password_file", counterpart.private_key_password_file)
    if counterpart.ca_file is not None:
        yield from _file(
            f"{section}.ca_file", counterpart.ca_file, form=_CERTIFICATE, expected="a certificate (PEM)"
        )
    if counterpart.client_cert_file is not None:
        name = f"{section}.client_cert_file"
        yield from _file(
            name, counterpart.client_cert_file, form=_CERTIFICATE, expected="a certificate (PEM)"
        )
        yield from _private(name, counterpart.client_cert_file)


def _operators(settings: Settings) -> Iterator[Finding]:
    for operator, path in settings.operators.public_key_files.items():
        name = f"operators.public_key_files[{operator}]"
        yield from _file(name, path, form=_PUBLIC, expected="a public key (PEM)")


def _sealing(settings: Settings, ring_ids: RingIds) -> Iterator[Finding]:
    sealing = settings.sealing
    yield from _ring(
        sealing.keys_file, active=sealing.active, purpose="sealing", prefix="sealing.", ring_ids=ring_ids
    )
    yield from _ring(
        sealing.fingerprint_keys_file,
        active=sealing.fingerprint_active,
        purpose="fingerprints",
        prefix="sealing.fingerprint_",
        ring_ids=ring_ids,
    )


def _ring(
    path: Path | None, *, active: str | None, purpose: RingPurpose, prefix: str, ring_ids: RingIds
) -> Iterator[Finding]:
    name = f"{prefix}keys_file"
    if path is None:
        yield _error(name, "is missing", "make a key ring with `unbinding keys new` and give its path")
        return
    unreadable = tuple(_file(name, path))
    yield from unreadable
    yield from _private(name, path)
    if unreadable:
        return
    try:
        ids = ring_ids(path, purpose=purpose)
    except (OSError, ValueError) as error:
        told = error.strerror if isinstance(error, OSError) else error
        yield _error(name, f"is no key ring: {told}", "make one with `unbinding keys new`")
        return
    if active is None and len(ids) > 1:
        yield _error(f"{prefix}active", "is missing, and the ring has more than one key", "name one of them")
    elif active is not None and active not in ids:
        remedy = f"use one of: {', '.join(sorted(ids))}"
        yield _error(f"{prefix}active", f"names a key that {name} does not have", remedy)


def _patience(patience: Patience) -> Iterator[Finding]:
    for step in Step:
        mine = patience.of(step)
        name = f"patience.{step}"
        if mine.waits_ms[0] >= mine.give_up_after_ms:
            first = format_duration(mine.waits_ms[0])
            what = f"is not longer than the first wait ({first}): nothing is repeated"
            yield _error(f"{name}.give_up_after", what, "raise it, or shorten the first wait")
            continue
        before = 0
        for place, wait_ms in enumerate(mine.waits_ms):
            if before + wait_ms > mine.give_up_after_ms:
                what = (
                    f"has a wait that is never reached: number {place + 1} of {len(mine.waits_ms)} would end "
                    f"{format_duration(before + wait_ms)} after the first attempt, beyond give_up_after"
                )
                yield _warning(f"{name}.waits", what, "raise give_up_after, or shorten the list")
                break
            before += wait_ms


def _kafka(kafka: Kafka) -> Iterator[Finding]:
    uses_sasl = kafka.security_protocol in {SecurityProtocol.SASL_PLAINTEXT, SecurityProtocol.SASL_SSL}
    uses_ssl = kafka.security_protocol in {SecurityProtocol.SSL, SecurityProtocol.SASL_SSL}
    has_password = kafka.sasl_password is not None or kafka.sasl_password_file is not None
    if uses_sasl and kafka.sasl_username is None:
        yield _error("kafka.sasl_username", f"is missing with {kafka.security_protocol}", "set it")
    if uses_sasl and not has_password:
        what = f"is missing with {kafka.security_protocol}"
        yield _error("kafka.sasl_password_file", what, "set it, or UNBINDING_KAFKA__SASL_PASSWORD")
    if kafka.sasl_password is not None and kafka.sasl_password_file is not None:
        what = "is set, and kafka.sasl_password too: which one counts is not decided"
        yield _error("kafka.sasl_password_file", what, "remove one of them")
    if not uses_sasl and (has_password or kafka.sasl_username is not None):
        what = f"is {kafka.security_protocol}: the SASL user and password that are set go unused"
        yield _error("kafka.security_protocol", what, "use SASL_SSL, or remove them")
    ssl_files = (kafka.ssl_ca_file, kafka.ssl_cert_file, kafka.ssl_key_file, kafka.ssl_key_password_file)
    if not uses_ssl and any(ssl_files):
        what = f"is {kafka.security_protocol}: the SSL files that are set go unused"
        yield _error("kafka.security_protocol", what, "use SSL or SASL_SSL, or remove them")
    if (kafka.ssl_cert_file is None) is not (kafka.ssl_key_file is None):
        yield _error("kafka.ssl_key_file", "and kafka.ssl_cert_file go together", "set both, or neither")
    far = [server for server in kafka.bootstrap_servers if not is_loopback(_host(server))]
    if far and not uses_ssl:
        what = f"is {kafka.security_protocol} to other machines: what is written is readable on the way"
        if uses_sasl and kafka.sasl_mechanism is SaslMechanism.PLAIN:
            yield _error("kafka.security_protocol", f"{what}, the password too", "use SASL_SSL")
        else:
            yield _warning("kafka.security_protocol", what, "use SSL or SASL_SSL outside of tests")
    yield from _kafka_files(kafka)
    yield from _kafka_times(kafka)


def _kafka_files(kafka: Kafka) -> Iterator[Finding]:
    for name, path, form, expected in (
        ("ssl_ca_file", kafka.ssl_ca_file, _CERTIFICATE, "a certificate (PEM)"),
        ("ssl_cert_file", kafka.ssl_cert_file, _CERTIFICATE, "a certificate (PEM)"),
        ("ssl_key_file", kafka.ssl_key_file, _PRIVATE, "a private key (PEM)"),
        ("ssl_key_password_file", kafka.ssl_key_password_file, None, ""),
        ("sasl_password_file", kafka.sasl_password_file, None, ""),
    ):
        if path is None:
            continue
        yield from _file(f"kafka.{name}", path, form=form, expected=expected)
        if form is not _CERTIFICATE:
            yield from _private(f"kafka.{name}", path)


def _kafka_times(kafka: Kafka) -> Iterator[Finding]:
    if kafka.drain_timeout_ms * 2 > kafka.rebalance_timeout_ms:
        what = (
            "is more than half of kafka.rebalance_timeout: a slow drain would cost the worker its membership"
        )
        yield _error("kafka.drain_timeout", what, "lower it, or raise kafka.rebalance_timeout")
    if kafka.transaction_timeout_ms > kafka.session_timeout_ms:
        what = "is longer than kafka.session_timeout: a dead worker holds up readers longer than its shards"
        yield _warning("kafka.transaction_timeout", what, "lower it")


def _defaults(loaded: Loaded) -> Iterator[Finding]:
    if loaded.source("kafka.bootstrap_servers") is Source.DEFAULT:
        what = "is not set: the worker looks for Kafka on this machine"
        yield _warning("kafka.bootstrap_servers", what, "set it")
    if loaded.settings.topics.replication < PRODUCTION_REPLICATION:
        what = f"is below {PRODUCTION_REPLICATION}: a lost broker loses data or stops all writes"
        yield _warning("topics.replication", what, f"use {PRODUCTION_REPLICATION} outside of tests")


def _secrets(loaded: Loaded) -> Iterator[Finding]:
    """Warn of secrets in a settings file that others may read."""
    inside = [name for name, leaf in leaves().items() if leaf.secret and loaded.source(name) is Source.FILE]
    if loaded.config is not None:
        for name in inside:
            yield from _private(name, loaded.config)


def _file(
    name: str, path: Path, *, form: re.Pattern[bytes] | None = None, expected: str = ""
) -> Iterator[Finding]:
    """Tell what keeps a file from being read, or that it is not what it should be."""
    where = f"{path}"
    try:
        if not path.exists():
            yield _error(name, f"{where} does not exist", "check the path, and that the volume is mounted")
            return
        if not path.is_file():
            yield _error(name, f"{where} is no file", "give the path of a file")
            return
        with path.open("rb") as opened:
            content = opened.read(_FILE_MOST)
    except (OSError, ValueError) as error:
        told = error.strerror if isinstance(error, OSError) else "its name cannot be used"
        yield _error(name, f"{where} cannot be read: {told}", "check owner, mode and path")
        return
    if not content.strip():
        yield _error(name, f"{where} is empty", "check what wrote it")
    elif form is not None and not form.search(content):
        yield _error(name, f"{where} does not hold {expected}", "check whether two files were swapped")


def _private(name: str, path: Path) -> Iterator[Finding]:
    """Warn where a file with a secret in it can be read by everybody on the machine."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return
    if os.name == "posix" and mode & stat.S_IROTH:
        yield _warning(name, f"{path} can be read by every user of this machine", f"chmod o-rwx {path}")


def _host(server: str) -> str:
    return server.rpartition(":")[0].strip("[]")
