"""The program itself with odd streams, arguments and terminals, as a shell can give them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.oncall.examples import request

pytestmark = [
    pytest.mark.promise("P10"),
    pytest.mark.fault("closed streams, broken pipes, odd encodings and terminals at the command line"),
]

ROOT: Final = Path(__file__).resolve().parents[2]
ENVIRON: Final = {"PATH": os.environ["PATH"], "HOME": os.devnull, "USER": "kim"}
GIVEN: Final = json.dumps(request(bindingId="b\u00e9zier-\u5317")).encode() + b"\n"
SUBMIT: Final = ("submit", "-", "--dry-run")
LIMIT_S: Final = 60


def unbinding(
    *arguments: str | bytes, streams: str = "", stdin: bytes | None = GIVEN, **environ: str
) -> subprocess.CompletedProcess[bytes]:
    """Run the program; ``streams`` is what a shell is told of them, such as ``<&-``."""
    command: tuple[str | bytes, ...] = (sys.executable, "-m", "worker", *arguments)
    if streams:
        command = ("/bin/sh", "-c", f'"$@" {streams}', "sh", *command)
    return subprocess.run(  # noqa: S603 - our own program
        command,
        cwd=ROOT,
        env={**ENVIRON, **environ},
        input=stdin,
        capture_output=True,
        timeout=LIMIT_S,
        check=False,
    )


def check(done: subprocess.CompletedProcess[bytes], *codes: int) -> None:
    """See that it ended as documented, without a word of Python's own."""
    said = done.stdout + done.stderr
    assert done.returncode in codes, said
    for word in (b"Traceback", b"Exception ignored", b"should not happen", b"Fatal Python"):
        assert word not in said, said


def test_closed_standard_input_is_told() -> None:
    """Without a standard input there is nothing to submit: one clear text, exit code 1."""
    done = unbinding(*SUBMIT, streams="<&-", stdin=None)
    check(done, 1)
    assert b"standard input" in done.stderr


def test_closed_standard_output_is_told() -> None:
    """Without a standard output nothing can be shown: one clear text, exit code 1."""
    done = unbinding(*SUBMIT, streams=">&-")
    check(done, 1)
    assert b"standard output" in done.stderr


@pytest.mark.parametrize("streams", ["| :", "| head -c 1"])
@pytest.mark.parametrize(
    "arguments", [("settings",), ("settings", "--example"), ("--help",), (*SUBMIT, "--json")]
)
def test_a_reader_that_goes_away_is_no_error_of_ours(streams: str, arguments: tuple[str, ...]) -> None:
    """Whoever reads may stop reading: no traceback, nothing that should not happen."""
    done = unbinding(*arguments, streams=streams)
    check(done, 0)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8", "cp1252"])
@pytest.mark.parametrize("json_too", [(), ("--json",)])
def test_any_encoding_of_the_terminal_will_do(encoding: str, json_too: tuple[str, ...]) -> None:
    """What a terminal's encoding lacks is shown in its stead, and JSON stays the same JSON."""
    done = unbinding(*SUBMIT, *json_too, PYTHONIOENCODING=encoding, LC_ALL="C")
    check(done, 0)
    if json_too:
        assert json.loads(done.stdout.decode(encoding))["bindingId"] == "b\u00e9zier-\u5317"
    else:
        assert b"unbinding.requested.v1" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("submit", b"\xff\xfe.jsonl", "--dry-run"),
        (*SUBMIT, "--source", b"\xff"),
        (b"\xff",),
        ("letters", "show", b"\xff", "--config", b"\xff"),
        ("settings", "--config", b"\xed\xa0\x80"),
        ("watch", "--from", b"\xff"),
    ],
)
def test_arguments_that_are_no_text_are_told(arguments: tuple[str | bytes, ...]) -> None:
    """Bytes that are no UTF-8 in an argument end in one clear text, with exit code 1 or 2."""
    done = unbinding(*arguments)
    check(done, 1, 2)
    assert done.stderr.strip()


@pytest.mark.parametrize("content", [b"", b"\x00" * 9, bytes(range(256)), b"[" * 100_000, b"{}\n" * 100_000])
def test_any_standard_input_is_told_in_time(content: bytes) -> None:
    """Empty, binary, deep and long input is refused in words."""
    done = unbinding(*SUBMIT, stdin=content)
    check(done, 1)
    assert len(done.stderr) < 10_000
