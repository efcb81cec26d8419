"""Checks over several leaves and the files they name."""

from pathlib import Path

import pytest

from tests.settings.checking import found, judged, only
from worker.settings import Severity, load


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
    findings = judged(load(environ={}))
    severities = [finding.severity for finding in findings]
    assert severities == sorted(severities)


def test_a_finding_says_where_the_value_came_from(environ: dict[str, str], tmp_path: Path) -> None:
    """A finding on a leaf names the line or the variable that gave it, one on a default names neither."""
    assert only(environ, TOPICS__REPLICATION="1").origin == "UNBINDING_TOPICS__REPLICATION"
    config = tmp_path / "unbinding.toml"
    config.write_text('[operators]\npublic_key_files = { ann = "/none/k.pem" }\n')
    (finding,) = judged(load(environ=environ, config=config))
    assert (finding.name, finding.origin) == ("operators.public_key_files[ann]", f"{config}:2")
    del environ["UNBINDING_SEALING__ACTIVE"]
    assert only(environ).origin is None


@pytest.mark.parametrize("name", ["sasl_password_file", "ssl_key_password_file"])
def test_a_password_file_of_two_lines_is_refused(environ: dict[str, str], tmp_path: Path, name: str) -> None:
    """What the start of the worker does not take for a password is an error that does not show it."""
    path = tmp_path / "password"
    path.touch(mode=0o600)
    path.write_text("correct\nhorse\n")
    finding = found(environ | {f"UNBINDING_KAFKA__{name.upper()}": str(path)})[f"kafka.{name}"]
    assert finding.severity is Severity.ERROR
    assert "more than one line" in finding.what
    assert "horse" not in repr(finding)


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
    findings = judged(load(environ=environ, config=config))
    assert [(finding.name, finding.severity) for finding in findings] == [
        ("kafka.sasl_password", Severity.WARNING)
    ]
    assert "correct-horse" not in repr(findings)
