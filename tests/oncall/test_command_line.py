"""The command line itself: its help, its lazy imports, and how errors end it."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from contracts.topics import LogicalTopic
from tests.oncall.worlds import FakeWorld
from worker.oncall.command_line import app
from worker.oncall.commands import COMMANDS, overview
from worker.oncall.errors import FIT_TO_SHOW, ExitCode, UsageWrong, told
from worker.oncall.outside import Outside
from worker.settings import Problem, SettingsError

if TYPE_CHECKING:
    from pathlib import Path

    from worker.settings import Settings

# The rooms of these two are others'; their modules may come later than the command line.
OWN = [name for name in COMMANDS if name not in ("demo", "bench")]
BELOW = {
    "letters": ("list", "show", "replay", "discard"),
    "topics": ("check", "apply"),
    "keys": ("new",),
    "settings": ("", "check"),
}


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in a Python of its own."""
    return subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "UNBINDING_CONFIG": ""},
    )


def test_the_overview_needs_no_library() -> None:
    """`unbinding` and `unbinding --help` answer without loading any library."""
    code = (
        "import sys; from worker.__main__ import main\n"
        "try: main()\n"
        "finally: print(sorted({'typer', 'rich', 'pydantic', 'aiokafka'} & set(sys.modules)))"
    )
    for arguments in ((), ("--help",), ("-h",)):
        result = python(code, *arguments)
        assert result.stdout == overview() + "[]\n"
        assert result.returncode == 0


def test_reading_letters_loads_no_hub() -> None:
    """The tools for letters load nothing that calls the payment side, nor the worker's shards."""
    code = (
        "import sys; import worker.oncall.letters_command, worker.oncall.kafka_cluster\n"
        "unwanted = 'worker.hub', 'worker.shard', 'worker.wiring', 'httpx', 'aiohttp'\n"
        "print([name for name in sys.modules if name.startswith(unwanted)])"
    )
    assert python(code).stdout == "[]\n"


@pytest.mark.parametrize("name", OWN)
def test_every_command_has_help_with_an_example(name: str) -> None:
    """Each command says what it does and shows an example, each line of it on a line of its own."""
    for below in BELOW.get(name, ("",)):
        words = [name, *([below] if below else [])]
        result = CliRunner().invoke(app, [*words, "--help"])
        assert result.exit_code == 0
        assert "Example:\n" in result.stdout
        assert f"\n    unbinding {' '.join(words)}" in result.stdout or "| unbinding" in result.stdout


def test_the_list_of_commands_names_what_is_there() -> None:
    """Each entry names a function or application that exists."""
    for name in OWN:
        entry = COMMANDS[name]
        assert hasattr(import_module(entry.module), entry.name)


def test_a_misspelt_command_is_a_mistake_of_use() -> None:
    """A command that is not there ends with code 2 and names the nearest one."""
    result = CliRunner().invoke(app, ["leters"])
    assert result.exit_code == 2
    assert "Did you mean 'letters'?" in result.stderr
    assert CliRunner().invoke(app, ["letters", "replay", "key"]).exit_code == 2


def test_errors_of_other_rooms_exist() -> None:
    """Every name that the seam knows is an exception class."""
    for name in FIT_TO_SHOW:
        module, _, kind = name.rpartition(".")
        assert find_spec(module) is not None
        assert issubclass(getattr(import_module(module), kind), Exception)


def test_errors_become_a_text_and_a_code() -> None:
    """Ours are told by their text, those of the system by name and reason, unknown ones by kind alone."""
    assert told(UsageWrong("give more")) == ("give more", ExitCode.USAGE)
    problem = Problem(name="profile", wrong="is odd", origin="environment", remedy="mend it")
    assert "profile is odd" in told(SettingsError([problem]))[0]
    assert told(FileNotFoundError(2, "No such file", "a.json"))[0].startswith("a.json: No such file")
    assert told(KeyboardInterrupt()) == ("interrupted", ExitCode.INTERRUPTED)
    text, code = told(RuntimeError("tok_synthetic_secret"))
    assert "tok_synthetic" not in text
    assert "RuntimeError" in text
    assert code is ExitCode.ERROR


def _broken(_settings: Settings) -> object:
    raise RuntimeError("quotes tok_synthetic_secret")


def _interrupted(_settings: Settings) -> object:
    raise KeyboardInterrupt


def test_an_unforeseen_error_is_one_line_but_for_debug() -> None:
    """Without --debug an unforeseen error is one line that quotes nothing; with it, it is raised as it is."""
    outside = Outside(environ={}, open_cluster=_broken)  # type: ignore[arg-type]  # breaks on purpose
    short = CliRunner().invoke(app, ["letters", "list"], obj=outside)
    assert short.exit_code == 1
    assert len(short.stderr.splitlines()) == 1
    assert "tok_synthetic" not in short.output
    full = CliRunner().invoke(app, ["--debug", "letters", "list"], obj=outside)
    assert isinstance(full.exception, RuntimeError)


def test_ctrl_c_ends_cleanly() -> None:
    """Ctrl-C ends with code 130 and one word."""
    outside = Outside(environ={}, open_cluster=_interrupted)  # type: ignore[arg-type]  # breaks on purpose
    result = CliRunner().invoke(app, ["letters", "list"], obj=outside)
    assert (result.exit_code, result.stderr) == (130, "unbinding: interrupted\n")


def test_wrong_settings_are_told(tmp_path: Path) -> None:
    """Wrong settings end any command with code 1 and a list of what is wrong."""
    config = tmp_path / "unbinding.toml"
    config.write_text("[topics]\npartitons = 3\n")
    result = FakeWorld().run("watch", "--config", str(config))
    assert result.exit_code == 1
    assert "partitons" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_wrong_duration_is_a_mistake_of_use() -> None:
    """A duration that cannot be read ends with code 2 and says how to write one."""
    result = FakeWorld().run("watch", "--from", "soon")
    assert result.exit_code == 2
    assert "--from" in result.stderr
    assert "10m" in result.stderr


def test_settings_are_shown_and_checked(tmp_path: Path) -> None:
    """`settings` shows each value and its source, its example loads, and its check judges."""
    world = FakeWorld()
    rows = [json.loads(line) for line in world.run("settings", "--json").stdout.splitlines()]
    found = next(row for row in rows if row["name"] == "topics.partitions")
    assert (found["value"], found["source"]) == (3, "environment")
    config = tmp_path / "unbinding.toml"
    config.write_text(world.run("settings", "--example").stdout)
    assert world.run("settings", "--config", str(config)).exit_code == 0
    checked = world.run("settings", "check", "--json")
    assert checked.exit_code == 1
    assert any(json.loads(line)["severity"] == "error" for line in checked.stdout.splitlines())


@pytest.mark.parametrize("kind", ["sealing", "fingerprints"])
def test_one_key_ring_is_made(tmp_path: Path, kind: str) -> None:
    """`keys new --kind` makes one private file, tells which setting wants it, and overwrites nothing."""
    path = tmp_path / "keys.toml"
    world = FakeWorld()
    result = world.run("keys", "new", "--kind", kind, str(path), "--json")
    assert result.exit_code == 0
    line = json.loads(result.stdout)
    assert (line["kind"], line["key"]) == (kind, "2025-03")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_text()
    again = world.run("keys", "new", "--kind", kind, str(path))
    assert again.exit_code == 1
    assert "exists already" in again.stderr
    assert path.read_text() == before
    assert not any(key in result.output for key in before.split('"') if key.endswith("="))


def test_both_key_rings_are_made(tmp_path: Path) -> None:
    """Without a kind both files are made in the directory."""
    result = FakeWorld().run("keys", "new", str(tmp_path), "--id", "k1")
    assert result.exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"sealing-keys.toml", "fingerprints-keys.toml"}
    assert "sealing.fingerprint_keys_file" in result.stdout


def test_the_worker_does_not_start_with_wrong_settings() -> None:
    """`run` tells what is wrong with the settings and does not start."""
    result = FakeWorld().run("run")
    assert result.exit_code == 1
    assert "the worker does not start" in result.stderr
    assert "sealing" in result.stderr


def test_wrong_sandbox_rules_are_told(tmp_path: Path) -> None:
    """Rules that cannot be read end the sandbox before it starts."""
    result = FakeWorld().run("sandbox", "--directory", str(tmp_path), "--rules", str(tmp_path / "none.toml"))
    assert result.exit_code == 1
    assert "none.toml" in result.stderr


def test_a_pipe_gets_every_line_whole() -> None:
    """JSON lines are never folded, however long."""
    world = FakeWorld()
    world.append(LogicalTopic.DEAD_LETTERS, 0, key=b"k" * 300, value=b"")
    (line,) = world.run("letters", "list", "--json").stdout.splitlines()
    assert json.loads(line)["key"].startswith("kkk")
