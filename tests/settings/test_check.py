"""Checks over several leaves and the files they name."""

import json
from collections.abc import Collection
from pathlib import Path

import pytest

from contracts.states import Step
from worker.settings import Finding, Severity, check, load

STEPS = (Step.CONSULT, Step.CANCEL_TOKEN, Step.CANCEL_AGREEMENT, Step.NOTIFY_MERCHANT, Step.OFFER)
PRIVATE = "-----BEGIN PRIVATE KEY-----\nsynthetic\n-----END PRIVATE KEY-----\n"
PUBLIC = "-----BEGIN PUBLIC KEY-----\nsynthetic\n-----END PUBLIC KEY-----\n"


def ring_ids(path: Path, *, purpose: str) -> Collection[str]:
    """Read a stand-in for a key ring: its purpose, then its ids."""
    own, *ids = path.read_text().split()
    if own != purpose:
        raise ValueError(f"its purpose is {own}")
    return ids


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Return variables of a platform in which nothing is wrong."""
    for name, text in (
        ("private.pem", PRIVATE),
        ("public.pem", PUBLIC),
        ("keys", "sealing k1 k2"),
        ("prints", "fingerprints f1"),
    ):
        path = tmp_path / name
        path.touch(mode=0o600)
        path.write_text(text)
    values = {
        "UNBINDING_KAFKA__BOOTSTRAP_SERVERS": "localhost:9092",
        "UNBINDING_SEALING__KEYS_FILE": str(tmp_path / "keys"),
        "UNBINDING_SEALING__ACTIVE": "k1",
        "UNBINDING_SEALING__FINGERPRINT_KEYS_FILE": str(tmp_path / "prints"),
    }
    for name in ("HUB", "TOKENS", "ALIPAYHK", "MERCHANTS", "ANTOM"):
        section = f"UNBINDING_COUNTERPARTS__{name}__"
        values[f"{section}BASE_URL"] = f"https://{name.lower()}.example"
        values[f"{section}CLIENT_ID"] = "CLIENT000000001"
        values[f"{section}PRIVATE_KEY_FILE"] = str(tmp_path / "private.pem")
        values[f"{section}PUBLIC_KEY_FILES"] = json.dumps({"1": str(tmp_path / "public.pem")})
    values["UNBINDING_COUNTERPARTS__ALIPAYHK__PATHS"] = '{"cancel_agreement": "/c", "query": "/q"}'
    values["UNBINDING_COUNTERPARTS__ALIPAYHK__QUERY_WORDS"] = '{"CLOSED": "ended"}'
    return values


def found(environ: dict[str, str], steps: tuple[Step, ...] = STEPS) -> dict[str, Finding]:
    """Return what the check finds, by name."""
    return {finding.name: finding for finding in check(load(environ=environ), steps=steps, ring_ids=ring_ids)}


def test_a_sound_platform_has_no_findings(environ: dict[str, str]) -> None:
    """Where all is well nothing is found."""
    assert found(environ) == {}


@pytest.mark.parametrize(
    ("variable", "value", "name"),
    [
        ("KAFKA__DRAIN_TIMEOUT", "40s", "kafka.drain_timeout"),
        ("KAFKA__SECURITY_PROTOCOL", "SASL_SSL", "kafka.sasl_username"),
        ("KAFKA__SASL_USERNAME", "u", "kafka.security_protocol"),
        ("KAFKA__SSL_CA_FILE", "/none", "kafka.ssl_ca_file"),
        ("KAFKA__SSL_CERT_FILE", "/none", "kafka.ssl_key_file"),
        ("SEALING__ACTIVE", "k9", "sealing.active"),
        ("SEALING__KEYS_FILE", "/none/keys", "sealing.keys_file"),
        ("PATIENCE__OFFER__GIVE_UP_AFTER", "5s", "patience.offer.give_up_after"),
        ("COUNTERPARTS__HUB__BASE_URL", "http://hub.example", "counterparts.hub.base_url"),
        ("COUNTERPARTS__HUB__PATHS", "{}", "counterparts.hub.paths"),
        ("COUNTERPARTS__HUB__PATHS", '{"consult": "/c", "consul": "/d"}', "counterparts.hub.paths"),
        ("COUNTERPARTS__HUB__PATHS", '{"consult": "/{merchantTag}"}', "counterparts.hub.paths"),
        ("COUNTERPARTS__ALIPAYHK__PATHS", '{"cancel_agreement": "/c"}', "counterparts.alipayhk.paths"),
        ("COUNTERPARTS__HUB__PRIVATE_KEY_FILE", "/none/k.pem", "counterparts.hub.private_key_file"),
        ("OPERATORS__PUBLIC_KEY_FILES", '{"ann": "/none/k.pem"}', "operators.public_key_files[ann]"),
    ],
)
def test_what_cannot_work_is_an_error(environ: dict[str, str], variable: str, value: str, name: str) -> None:
    """What would fail or be unsafe later is an error, with what to do."""
    finding = found({**environ, f"UNBINDING_{variable}": value})[name]
    assert finding.severity is Severity.ERROR
    assert finding.what
    assert finding.remedy


@pytest.mark.parametrize(
    ("variable", "value", "name"),
    [
        ("KAFKA__BOOTSTRAP_SERVERS", "kafka.example:9092", "kafka.security_protocol"),
        ("TOPICS__REPLICATION", "1", "topics.replication"),
        ("STEPS__CONSULT", "off", "counterparts.hub"),
        ("PATIENCE__CONSULT__GIVE_UP_AFTER", "20s", "patience.consult.waits"),
        ("COUNTERPARTS__ALIPAYHK__QUERY_WORDS", "{}", "counterparts.alipayhk.query_words"),
        ("COUNTERPARTS__HUB__IN_FLIGHT", "500", "counterparts.hub.in_flight"),
        ("KAFKA__TRANSACTION_TIMEOUT", "1m", "kafka.transaction_timeout"),
    ],
)
def test_what_is_doubtful_is_a_warning(environ: dict[str, str], variable: str, value: str, name: str) -> None:
    """What the worker can live with is a warning."""
    assert found({**environ, f"UNBINDING_{variable}": value})[name].severity is Severity.WARNING


def test_steps_that_never_run_are_told(environ: dict[str, str]) -> None:
    """A counterpart that is left out is a warning for its steps; the lack of consult says what it means."""
    kept = {name: value for name, value in environ.items() if "__HUB__" not in name}
    finding = found(kept)["counterparts.hub"]
    assert finding.severity is Severity.WARNING
    assert "without asking" in finding.what


def test_a_profile_without_any_step_is_an_error(environ: dict[str, str]) -> None:
    """With no counterpart at all nothing can run, and errors come before warnings."""
    kept = {name: value for name, value in environ.items() if "COUNTERPARTS" not in name}
    assert found(kept)["profile"].severity is Severity.ERROR
    findings = check(load(environ={}), steps=STEPS, ring_ids=ring_ids)
    severities = [finding.severity for finding in findings]
    assert severities == sorted(severities)


def test_an_acquirer_needs_the_acquirer_edition(environ: dict[str, str]) -> None:
    """The profile of an acquirer and the wallet's edition of cancelToken do not fit."""
    changed = {**environ, "UNBINDING_PROFILE": "acquirer"}
    assert "counterparts.tokens.edition" in found(changed, (Step.CANCEL_TOKEN,))
    changed["UNBINDING_COUNTERPARTS__TOKENS__EDITION"] = "acquirer"
    assert "counterparts.tokens.edition" not in found(changed, (Step.CANCEL_TOKEN,))


def test_swapped_and_open_key_files_are_told(environ: dict[str, str], tmp_path: Path) -> None:
    """A public key in the place of the private one is an error; a key that all can read is a warning."""
    changed = {**environ, "UNBINDING_COUNTERPARTS__HUB__PRIVATE_KEY_FILE": str(tmp_path / "public.pem")}
    assert found(changed)["counterparts.hub.private_key_file"].severity is Severity.ERROR
    (tmp_path / "private.pem").chmod(0o644)
    finding = found(environ)["counterparts.tokens.private_key_file"]
    assert finding.severity is Severity.WARNING
    assert "synthetic" not in finding.what + finding.remedy


def test_one_ring_for_two_purposes_is_refused(environ: dict[str, str], tmp_path: Path) -> None:
    """A sealing ring does not serve for fingerprints."""
    changed = {**environ, "UNBINDING_SEALING__FINGERPRINT_KEYS_FILE": str(tmp_path / "keys")}
    assert "purpose" in found(changed)["sealing.fingerprint_keys_file"].what


def test_a_ring_with_several_keys_needs_an_active_one(environ: dict[str, str]) -> None:
    """The active key may be left out only where there is one."""
    del environ["UNBINDING_SEALING__ACTIVE"]
    assert found(environ)["sealing.active"].severity is Severity.ERROR


def test_a_password_in_an_open_settings_file_is_told(environ: dict[str, str], tmp_path: Path) -> None:
    """A secret in a settings file that all can read is a warning that does not show it."""
    config = tmp_path / "unbinding.toml"
    config.write_text(
        '[kafka]\nsecurity_protocol = "SASL_SSL"\nsasl_username = "u"\nsasl_password = "correct-horse"\n'
    )
    config.chmod(0o644)
    findings = check(load(environ=environ, config=config), steps=STEPS, ring_ids=ring_ids)
    assert [(finding.name, finding.severity) for finding in findings] == [
        ("kafka.sasl_password", Severity.WARNING)
    ]
    assert "correct-horse" not in repr(findings)
