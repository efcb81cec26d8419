"""What `unbinding settings` and `unbinding keys new` show and write."""

import io
import json
import stat
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from worker.oncall.settings_check import ring_ids
from worker.oncall.settings_view import (
    KeysNotWritten,
    findings_lines,
    findings_table,
    may_start,
    settings_lines,
    settings_table,
    write_new_keys,
)
from worker.sealing import Purpose
from worker.settings import Finding, Severity, describe, load

SECRET = "correct-horse-battery"
ERROR = Finding(
    severity=Severity.ERROR,
    name="profile",
    what="has no step",
    remedy="configure [one]",
    origin="unbinding.toml:3",
)
WARNING = Finding(severity=Severity.WARNING, name="topics.replication", what="is below 3", remedy="use 3")


def printed(table: Table) -> str:
    """Return a table as a wide terminal shows it."""
    stream = io.StringIO()
    Console(file=stream, width=300).print(table)
    return stream.getvalue()


def test_settings_are_shown_without_secrets() -> None:
    """Table and lines show each value and its origin, and a password by its fingerprint."""
    environ = {"UNBINDING_KAFKA__SASL_PASSWORD": SECRET, "UNBINDING_PROFILE": "wallet"}
    rows = describe(load(environ=environ))
    table, lines = printed(settings_table(rows)), list(settings_lines(rows))
    assert SECRET not in table + "".join(lines)
    assert "fingerprint:" in table
    assert "UNBINDING_PROFILE" in table
    told = {line["name"]: line for line in map(json.loads, lines)}
    assert told["profile"]["value"] == "wallet"
    assert told["profile"]["source"] == "environment"
    assert told["patience.consult.waits"]["value"] == ["2s", "5s", "10s", "30s"]
    assert len(lines) == len(rows)


def test_findings_are_shown_with_what_to_do() -> None:
    """Table and lines show each finding as it is, brackets too, and where its value came from."""
    table = printed(findings_table([ERROR, WARNING]))
    assert "configure [one]" in table
    assert "unbinding.toml:3" in table
    lines = [json.loads(line) for line in findings_lines([ERROR, WARNING])]
    assert [(line["severity"], line["origin"]) for line in lines] == [
        ("error", "unbinding.toml:3"),
        ("warning", None),
    ]


def test_warnings_do_not_keep_a_worker_from_starting() -> None:
    """Only errors keep a worker from starting."""
    assert may_start([WARNING])
    assert not may_start([WARNING, ERROR])


def test_new_keys_are_private_and_usable(tmp_path: Path) -> None:
    """Both rings are made, for the owner alone, and can be read for their own purpose only."""
    paths = write_new_keys(tmp_path, key_id="2026-01")
    assert set(paths) == set(Purpose)
    for purpose, path in paths.items():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert list(ring_ids(path, purpose=purpose.value)) == ["2026-01"]
    with pytest.raises(ValueError, match="purpose"):
        ring_ids(paths[Purpose.SEALING], purpose="fingerprints")


@pytest.mark.parametrize("taken", ["sealing-keys.toml", "fingerprints-keys.toml"])
def test_keys_are_never_overwritten(tmp_path: Path, taken: str) -> None:
    """Where either file exists, or is a link to nowhere, nothing is made and nothing changed."""
    (tmp_path / taken).symlink_to(tmp_path / "nowhere")
    with pytest.raises(KeysNotWritten, match=taken):
        write_new_keys(tmp_path, key_id="k")
    assert [path.name for path in tmp_path.iterdir()] == [taken]


def test_keys_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    """A missing directory and an unusable id are told, and leave nothing behind."""
    with pytest.raises(KeysNotWritten, match="directory exists"):
        write_new_keys(tmp_path / "none", key_id="k")
    with pytest.raises(KeysNotWritten, match="key id"):
        write_new_keys(tmp_path, key_id="a b")
    assert list(tmp_path.iterdir()) == []


def test_a_ring_that_is_none_is_told_without_its_content(tmp_path: Path) -> None:
    """A file that is no ring is an error that does not quote it."""
    path = tmp_path / "keys"
    for content in (SECRET.encode(), SECRET.encode() + b"\xff"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="keys") as raised:
            ring_ids(path, purpose="sealing")
        assert SECRET not in str(raised.value)
