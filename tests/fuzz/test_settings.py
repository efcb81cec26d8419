"""Settings of any kind: TOML, environment, and the files that they name."""

from __future__ import annotations

import datetime as dt
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import strategies as st

from contracts.wire import has_control_characters
from tests.fuzz.doors import door
from tests.fuzz.grammar import changed, odd_text, torn
from tests.fuzz.screen import check_screen, screen
from worker.oncall.settings_check import findings_of
from worker.oncall.settings_view import (
    findings_lines,
    findings_table,
    settings_lines,
    settings_table,
)
from worker.reach import SettingUnusable, connection_of, read_secret
from worker.settings import SettingsError, describe, load
from worker.settings.outline import leaves
from worker.settings.show import toml_value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.fuzz.grammar import Draw
    from worker.settings import Loaded

pytestmark = [
    pytest.mark.promise("P8", "P10"),
    pytest.mark.fault("settings of any text, type, size and name, and the files that they name"),
]

SECRET: Final = "s3cr3t"
TREE: Final[dict[str, Any]] = {
    "application": "unbinding",
    "profile": "platform",
    "log_format": "json",
    "kafka": {
        "bootstrap_servers": ["kafka.example:9092"],
        "security_protocol": "SASL_SSL",
        "sasl_username": f"{SECRET}-user",
        "sasl_password": f"{SECRET}-password",
        "session_timeout": "25s",
        "drain_timeout": 15,
    },
    "topics": {"prefix": "", "partitions": 12, "replication": 3},
    "counterparts": {
        "hub": {
            "base_url": "https://hub.example:8443",
            "client_id": "WALLETCLIENT000001",
            "private_key_file": "hub.pem",
            "public_key_files": {"1": "hub.1.pem"},
            "paths": {"consult": "/a/consult", "notify_hub": "/b/notify"},
            "rate": 20.5,
            "timeout": "5s",
        }
    },
    "steps": {"consult": ["psp-1"], "notify_hub": "off"},
    "patience": {"consult": {"quick": 2, "waits": ["2s", "5s"], "give_up_after": "2m"}},
    "limits": {"live_sagas": 20_000, "live_bytes": "256MiB", "record_bytes": "256KiB"},
    "sealing": {"keys_file": "ring.toml", "active": "2025-03"},
    "http": {"address": "127.0.0.1:8080"},
}
_ODD_WORDS: Final = (
    "1ms",
    "-5s",
    "5 s",
    "5S",
    "1e9s",
    "999999999999999999999d",
    "0.0001ms",
    "10 000",
    "1GiB",
    "1.5B",
    "inf",
    "nan",
    "https://user:s3cr3t@h/",
    "https://h:99999",
    "https://[::1",
    "http://h/?q=s3cr3t",
    "HTTPS://H",
    "//",
    "/../..",
    "-----BEGIN PRIVATE KEY-----",
    "localhost",
    ":9092",
    "[::1]:9092",
    "host:0",
    "PLAINTEXT ",
    "platfrom",
    "{}",
    "[",
)
_ODD: Final = (
    st.sampled_from(_ODD_WORDS)
    | odd_text()
    | st.just(f"{SECRET}-in-the-wrong-place")
    | st.integers(-(2**70), 2**70)
    | st.just(10**400)
    | st.floats()
    | st.booleans()
    | st.just(dt.datetime(2025, 3, 1, tzinfo=dt.UTC))
)


def toml(tree: Mapping[str, Any]) -> str:
    """Return a tree as TOML: every key quoted, every table inline but those on top."""
    lines = [
        f"{_key(name)} = {_value(content)}" for name, content in tree.items() if not isinstance(content, dict)
    ]
    for name, content in tree.items():
        if isinstance(content, dict):
            lines += _table((name,), content)
    return "\n".join(lines) + "\n"


def _table(path: tuple[str, ...], table: Mapping[str, Any]) -> list[str]:
    below = {name: content for name, content in table.items() if isinstance(content, dict) and len(path) < 2}
    lines = [f"[{'.'.join(map(_key, path))}]"]
    lines += [f"{_key(name)} = {_value(content)}" for name, content in table.items() if name not in below]
    for name, content in below.items():
        lines += _table((*path, name), content)
    return lines


def _key(name: object) -> str:
    text = str(name).encode("utf-8", "replace").decode()
    return text if text.isidentifier() and text.isascii() else toml_value(text)


def _value(content: Any) -> str:
    match content:
        case None:
            return "[]"
        case bool():
            return str(content).lower()
        case dt.datetime():
            return content.isoformat()
        case str():
            return toml_value(content.encode("utf-8", "replace").decode())
        case dict():
            inside = ", ".join(f"{_key(name)} = {_value(inner)}" for name, inner in content.items())
            return f"{{ {inside} }}"
        case list():
            return f"[{', '.join(map(_value, content))}]"
    return repr(content)


@st.composite
def _files(draw: Draw) -> tuple[bytes, bool]:
    """Return a settings file, and whether its bytes were torn."""
    tree = draw(changed(TREE, most=3))
    if not isinstance(tree, dict):
        tree = {"kafka": tree}
    for _ in range(draw(st.integers(0, 2))):
        name = draw(st.sampled_from(sorted(leaves())))
        branch = tree
        for part in name.split(".")[:-1]:
            branch = (
                branch[part] if isinstance(branch.get(part), dict) else branch.setdefault(f"{part}", {}) or {}
            )
            if not isinstance(branch, dict):
                break
        if isinstance(branch, dict):
            last = name.rpartition(".")[2]
            branch[draw(st.sampled_from((last, last[:-1], f"{last}s", last.upper())))] = draw(_ODD)
    raw = toml(tree).encode()
    if draw(st.integers(0, 4)):
        return raw, False
    way = draw(st.sampled_from(("torn", "utf-16", "bom", "latin", "binary")))
    if way == "torn":
        return draw(torn(raw)), True
    return {
        "utf-16": raw.decode().encode("utf-16"),
        "bom": b"\xef\xbb\xbf" + raw,
        "latin": raw.decode().encode("latin-1", "replace"),
        "binary": bytes(range(256)),
    }[way], False


def _use(loaded: Loaded) -> str:
    """Do with settings all that needs no cluster, and return what people see of it."""
    rows = describe(loaded)
    findings = findings_of(loaded)
    shown = screen(settings_table(rows), findings_table(findings))
    check_screen(shown)
    try:
        connection = connection_of(loaded.settings)
    except SettingUnusable as refusal:
        shown += str(refusal)
    else:
        shown += repr(connection)
    return "\n".join((shown, *settings_lines(rows), *findings_lines(findings), repr(loaded)))


def _check_refusal(error: SettingsError, *, named: str) -> None:
    text = str(error)
    assert error.problems
    for problem in error.problems:
        assert problem.name
        assert problem.wrong
        assert problem.origin
        assert problem.remedy
        assert "\n" not in problem.name + problem.wrong + problem.remedy
    assert named in text
    assert error.__cause__ is None
    assert len(text) < 400_000


@door("settings", examples=200, given=_files())
def test_any_file_gives_settings_or_one_clear_error(given: tuple[bytes, bool]) -> None:
    """A settings file of any bytes loads, or one error names file, key and what to do, and never a value."""
    raw, torn_up = given
    with tempfile.TemporaryDirectory(prefix="fuzz-settings-") as folder:
        path = Path(folder) / "unbinding.toml"
        path.write_bytes(raw)
        try:
            shown = _use(load(environ={}, config=path))
        except SettingsError as error:
            _check_refusal(error, named="unbinding.toml")
            shown = str(error) + repr(error)
        if not torn_up:
            assert SECRET not in shown.replace(f"{SECRET}-user", "")


_VARIABLES: Final = sorted(leaf.variable for leaf in leaves().values())


@st.composite
def _environments(draw: Draw) -> dict[str, str]:
    found: dict[str, str] = {}
    for _ in range(draw(st.integers(1, 4))):
        name = draw(st.sampled_from(_VARIABLES))
        name = draw(
            st.sampled_from(
                (name, name, name, name.lower(), name[:-1], f"{name}S", name.replace("__", "_"), f"{name}__X")
            )
        )
        given = _ODD.map(str) | st.sampled_from(
            (f'{{"1": "{SECRET}"}}', f'["{SECRET}"', "[1]", "{}", "[[[[]]]]", '{"a":{"b":1}}', "\ud800")
        )
        found[name.replace("=", "_").replace("\x00", "_")] = draw(given).replace("\x00", "")
    if draw(st.integers(0, 9)) == 0:
        found["UNBINDING_CONFIG"] = draw(st.sampled_from(("", "/", "/nowhere", "\udcff", "x" * 5_000)))
    return found


@door("settings", examples=200, environ=_environments())
def test_any_environment_gives_settings_or_one_clear_error(environ: dict[str, str]) -> None:
    """Variables of any name and content load, or one error names each and what to do, and never a value."""
    try:
        shown = _use(load(environ=environ))
    except SettingsError as error:
        _check_refusal(error, named="")
        _check_names(error, environ)
        shown = str(error) + repr(error)
    except RecursionError:
        raise AssertionError("an environment made the reader run out of its stack") from None
    assert "Traceback" not in shown
    loud = {name for name in environ if name.endswith(("PASSWORD", "USERNAME"))}
    if not loud and "fingerprint" not in shown:
        assert f"{SECRET}-in-the-wrong-place" not in shown or _is_lawful(environ)


def _check_names(error: SettingsError, environ: Mapping[str, str]) -> None:
    names = {name.upper() for name in environ}
    assert any(name[:60] in str(error).upper() or "CONFIG" in name for name in names)


def _is_lawful(environ: dict[str, str]) -> bool:
    """Tell whether the settings were loaded: a plain leaf that holds our mark is then shown."""
    try:
        load(environ=environ)
    except SettingsError:
        return False
    return True


@door(
    "settings",
    examples=200,
    content=st.sampled_from(
        (
            b"",
            b"\n",
            b"pass\n",
            b"pass\r\n",
            b"\xef\xbb\xbfpass\n",
            b"\xff\xfe",
            b"a\nb\n",
            b"a\x00b",
            b"pass ",
            b"\r\n\r\n",
        )
    )
    | st.binary(max_size=12)
    | odd_text().map(lambda text: text.encode("utf-8", "surrogatepass")),
)
def test_a_secret_file_gives_its_one_line_or_a_clear_error(content: bytes) -> None:
    """A file with a password gives exactly its line, or one text with setting and file, and shows nothing."""
    with tempfile.TemporaryDirectory(prefix="fuzz-secret-") as folder:
        path = Path(folder) / "password"
        path.write_bytes(content)
        try:
            secret = read_secret(path, name="kafka.sasl_password_file")
        except SettingUnusable as refusal:
            told = str(refusal)
            assert told.startswith("kafka.sasl_password_file: ")
            assert str(path) in told
            text = content.decode("utf-8", "replace").strip()
            assert len(text) < 6 or text not in told.replace(str(path), "")
            return
        assert secret
        assert not has_control_characters(secret)
        assert content.decode("utf-8-sig").rstrip("\r\n") == secret


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("directory", "cannot be read"),
        ("missing", "does not exist"),
        ("endless", "larger than"),
        ("huge number", "is no TOML"),
        ("nested", "nested too deep"),
        ("below a file", "cannot be read"),
        ("long name", "cannot be read"),
    ],
)
def test_odd_settings_files_are_told_as_what_they_are(what: str, says: str, tmp_path: Path) -> None:
    """A directory, nothing, an endless device, a number beyond measure: each is named for what it is."""
    path = tmp_path / "unbinding.toml"
    match what:
        case "directory":
            path.mkdir()
        case "endless":
            path = Path(os.devnull).with_name("zero")
        case "huge number":
            path.write_text(f"a = {'9' * 5_000}")
        case "nested":
            path.write_text(f"a = {'[' * 3_000}{']' * 3_000}")
        case "below a file":
            path.write_text("")
            path = path / "settings.toml"
        case "long name":
            path = tmp_path / ("x" * 3_000)
    with pytest.raises(SettingsError, match=says) as raised:
        load(environ={}, config=path)
    assert str(path) in str(raised.value)
