"""Every command with any arguments, standard input and files, on the fake cluster."""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import example
from hypothesis import strategies as st
from typer.testing import CliRunner

from contracts.cloudevents import read_event
from contracts.notices import TOKEN_CANCELED, read_notice
from contracts.requests import REBINDING_REQUESTED, UNBINDING_REQUESTED, read_request
from contracts.states import State
from contracts.topics import LogicalTopic, partition_of
from tests.contracts.samples import SAMPLES
from tests.fuzz.doors import door
from tests.fuzz.grammar import changed, json_text, odd_text, odd_value, torn
from tests.fuzz.screen import OWN_CODES
from tests.oncall.examples import SAGA, letter_headers, notice, put_letter, put_state, request
from tests.oncall.worlds import NOW_AT, PARTITIONS, FakeCluster, FakeWorld
from worker.oncall.command_line import app
from worker.oncall.commands import COMMANDS
from worker.oncall.outside import Outside
from worker.oncall.terminal import Terminal, console

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from typer.testing import Result

    from tests.fuzz.grammar import Draw

pytestmark = [
    pytest.mark.promise("P8", "P10"),
    pytest.mark.fault("any arguments, standard input, files and terminals at the command line"),
]

SECRET: Final = "s3cr3t-token"
UNBINDING: Final = request("bnd-1", accessToken=SECRET)
NOTICE: Final = notice(accessToken=SECRET)
REBINDING: Final = SAMPLES[REBINDING_REQUESTED]["data"] | {"authState": SECRET}
STRUCTURED: Final = {
    "specversion": "1.0",
    "id": "e-1",
    "source": "/wallet/app",
    "type": UNBINDING_REQUESTED,
    "time": "2025-03-01T01:15:27Z",
    "extension": "x",
    "data": UNBINDING,
}


def run(
    *arguments: str,
    stdin: bytes = b"",
    cluster: FakeCluster | None = None,
    environ: dict[str, str] | None = None,
) -> Result:
    """Run one command line on a cluster in memory."""
    made = cluster or FakeCluster()
    ticks = iter(range(0, 10**9, 500))

    @asynccontextmanager
    async def opened(settings: object) -> AsyncIterator[FakeCluster]:
        del settings
        yield made

    outside = Outside(
        environ={"UNBINDING_TOPICS__PARTITIONS": str(PARTITIONS), "USER": "kim", **(environ or {})},
        open_cluster=opened,
        terminal=lambda: Terminal(out=console(sys.stdout), err=console(sys.stderr), ask=None),
        now=lambda: NOW_AT,
        elapsed=lambda: next(ticks),
        read_stdin=lambda: stdin,
    )
    return CliRunner().invoke(app, arguments, obj=outside)


def check(result: Result, *, codes: tuple[int, ...] = (0, 1, 2, 3, 4, 5)) -> None:
    """See that a command ended as documented, in words for people."""
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code in codes, result.output
    assert "should not happen" not in result.output, result.output
    assert "Traceback" not in result.output
    if result.exit_code:
        assert result.output.strip(), "it failed and did not say why"
    assert "\x1b" not in OWN_CODES.sub("", result.stdout)


@st.composite
def _documents(draw: Draw) -> bytes:
    """Return a file for submit: an object, an array or lines, perhaps torn."""
    samples = (UNBINDING, UNBINDING, NOTICE, REBINDING, STRUCTURED)
    many = [
        draw(changed(draw(st.sampled_from(samples)), most=2))
        if draw(st.booleans())
        else draw(st.sampled_from(samples))
        for _ in range(draw(st.integers(1, 4)))
    ]
    if draw(st.integers(0, 9)) == 0:
        many.append(draw(odd_value()))
    ascii_only = draw(st.booleans())
    match draw(st.sampled_from(("lines", "array", "one", "mixed"))):
        case "lines":
            text = "\n".join(json_text(one, ascii_only=ascii_only) for one in many)
        case "array":
            text = json_text(many, ascii_only=ascii_only)
        case "one":
            text = json.dumps(many[0], indent=2)
        case _:
            text = "\r\n\n".join(json_text(one) for one in many) + "\n\n"
    raw = text.encode("utf-8", "surrogatepass")
    return draw(st.just(raw) | torn(raw))


def _deep(levels: int) -> bytes:
    data = json.dumps(UNBINDING)
    return f'{data[:-1]}, "extra": {"[" * levels}{"]" * levels}}}'.encode()


@door("cli", examples=150, content=_documents(), json_too=st.booleans())
@example(content=_deep(300), json_too=False)
@example(content=_deep(2_000), json_too=False)
@example(content=b'{"specversion":"1.0","data":' + _deep(300) + b"}", json_too=True)
def test_submit_publishes_all_or_nothing(content: bytes, *, json_too: bool) -> None:
    """Any content is published whole, each entry as the worker takes it, or not at all, and why is told."""
    cluster = FakeCluster()
    result = run("submit", "-", "--yes", *(["--json"] if json_too else []), stdin=content, cluster=cluster)
    check(result, codes=(0, 1))
    assert SECRET not in result.output
    published = [*cluster.logs[LogicalTopic.REQUESTS], *cluster.logs[LogicalTopic.NOTICES]]
    assert bool(published) is (result.exit_code == 0)
    for record in published:
        event = read_event(record.value, record.headers)
        if event.type == TOKEN_CANCELED:
            read_notice(event)
            continue
        found = read_request(event)
        assert record.key == found.binding_id.encode()
        assert record.partition == partition_of(found.binding_id, PARTITIONS)
    if json_too and result.exit_code == 0:
        assert len([json.loads(line) for line in result.stdout.splitlines()]) == len(published)


def words_of_any_bytes() -> st.SearchStrategy[str]:
    """Arguments as a shell can give them: any bytes but NUL, no UTF-8 as half surrogate pairs."""
    raw = odd_text().map(lambda text: text.encode("utf-8", "replace")) | st.binary(max_size=12)
    return raw.map(lambda given: os.fsdecode(given.replace(b"\x00", b"")))


_TEXTS: Final = words_of_any_bytes() | st.sampled_from(
    ("-", "--", "--yes", "5s", "-1", "1e9", "9" * 30, "\udcff\udc80", SAGA, "latest", "\u0663")
)
_OPTIONS: Final = {
    "submit": ("--source", "--type", "--dry-run", "--yes", "--json", "--config", "-", "--no-such"),
    "watch": ("--binding", "--saga", "--from", "--json", "--config", "--no-such"),
    "letters list": ("--reason", "--step", "--limit", "--json", "--config", "--no-such"),
    "letters show": (SAGA[:4], "--json", "--config", "--no-such"),
    "letters replay": (SAGA[:4], "--why", "--by", "--from", "--force", "--timeout", "--yes", "--json"),
    "letters discard": (SAGA[:4], "--why", "--by", "--timeout", "--yes", "--json"),
    "topics check": ("--json", "--config", "--no-such"),
    "topics apply": ("--yes", "--json", "--config", "--no-such"),
    "settings": ("--example", "--json", "--config", "--no-such"),
    "settings check": ("--json", "--config"),
    "keys new": ("--kind", "--id", "--json"),
    "letters": ("--help", "--no-such"),
    "topics": ("--no-such",),
    "keys": ("--no-such",),
    "": ("--debug", "--help", "--version", "sumbit", "letters"),
}


@st.composite
def _command_lines(draw: Draw) -> list[str]:
    name = draw(st.sampled_from(sorted(_OPTIONS)))
    words = name.split()
    for _ in range(draw(st.integers(0, 5))):
        words.append(draw(st.sampled_from(_OPTIONS[name]) | _TEXTS))
        if words[-1].startswith("--") and draw(st.booleans()):
            words.append(draw(_TEXTS))
    # Following has no end of its own, and keys go nowhere but where we say; errors are told without --debug.
    words = [word for word in words if word not in {"--debug", "demo", "bench", "run", "sandbox", "verify"}]
    if name == "watch":
        words += ["--until-idle", "1s"]
    if name == "keys new":
        words = ["keys", "new", *(word.replace("/", "_").replace("..", "_") for word in words[2:])]
    return words


@door(
    "cli",
    examples=250,
    words=_command_lines(),
    stdin=st.just(json.dumps(UNBINDING).encode()) | st.binary(max_size=30),
)
@example(words=["submit", "-", "--yes", "--source", "\udcff"], stdin=json.dumps(UNBINDING).encode())
@example(words=["submit", "-", "--yes", "--source", ""], stdin=json.dumps(UNBINDING).encode())
@example(words=["letters", "replay", SAGA, "--why", "\udcff", "--yes"], stdin=b"")
@example(words=["letters", "replay", SAGA, "--why", "x", "--by", "\udcff", "--yes"], stdin=b"")
def test_any_command_line_ends_as_documented(words: list[str], stdin: bytes) -> None:
    """Any words after any command: a documented exit code, one clear text, never a traceback or a token."""
    cluster = FakeCluster()
    world = FakeWorld(cluster=cluster)
    put_letter(world, letter_headers())
    put_state(world, State.REQUESTED, sequence=1)
    with tempfile.TemporaryDirectory(prefix="fuzz-cli-") as folder:
        if words[:2] == ["keys", "new"]:
            words = [*words, "--", f"{folder}/keys.toml"]
        result = run(*words, stdin=stdin, cluster=cluster)
    check(result)
    assert SECRET not in result.output


@door("cli", examples=60, content=_documents(), name=words_of_any_bytes())
def test_submit_of_any_file(content: bytes, name: str) -> None:
    """A file of any name and content is read, or refused in one text that names it."""
    with tempfile.TemporaryDirectory(prefix="fuzz-cli-") as folder:
        path = Path(folder) / "requests.jsonl"
        path.write_bytes(content)
        check(run("submit", str(path), "--dry-run"), codes=(0, 1))
        result = run("submit", f"{folder}/{name}", "--dry-run")
        check(result, codes=(0, 1))
        assert SECRET not in result.output


def test_every_command_is_fuzzed_or_listed_as_not() -> None:
    """No command is forgotten: those that start processes are only asked wrongly, here."""
    fuzzed = {name.split()[0] for name in _OPTIONS if name}
    for name in set(COMMANDS) - fuzzed:
        result = run(name, "--no-such-option")
        check(result, codes=(2,))
    assert fuzzed <= set(COMMANDS)


@pytest.mark.parametrize("columns", ["20", "80", "1", "0", "-3", "x"])
@pytest.mark.parametrize("term", ["dumb", "xterm-256color", ""])
def test_any_terminal_will_do(columns: str, term: str) -> None:
    """Narrow, dumb, without colours or with nonsense in its variables: tables are shown all the same."""
    put = FakeWorld()
    put_letter(put, letter_headers())
    page = io.StringIO()
    result = CliRunner(env={"COLUMNS": columns, "TERM": term, "NO_COLOR": "1"}).invoke(
        app,
        ["letters", "show", SAGA],
        obj=Outside(
            environ={"USER": "kim"},
            open_cluster=put._open,  # noqa: SLF001 - the world's own cluster, with another terminal
            terminal=lambda: Terminal(out=console(sys.stdout), err=console(page), ask=None),
        ),
    )
    check(result, codes=(0,))
    assert "outcome" in result.stdout
