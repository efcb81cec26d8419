"""The demo as a person runs it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from worker.oncall.demo.plan import make_plan

pytestmark = pytest.mark.promise("P1")

_BOUND_S = 150
_COMMAND = (sys.executable, "-m", "worker", "demo", "--directory")


@pytest.mark.whole
def test_the_demo_is_right(tmp_path: Path) -> None:
    """The demo kills its worker, ends by itself with exit code 0, and says that all is right."""
    done = subprocess.run(  # noqa: S603 -- our own program
        [*_COMMAND, str(tmp_path / "demo")],
        capture_output=True,
        text=True,
        timeout=_BOUND_S,
        check=False,
        env={**os.environ, "COLUMNS": "160"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    last_lines = done.stdout.splitlines()[-2:]
    assert last_lines[0].startswith("worker killed with SIGKILL at ")
    assert last_lines[1].endswith(": all right")
    for case in make_plan(now_at=0):
        assert case.shows in done.stdout
    assert "✗" not in done.stdout


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.whole
def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    """Ctrl-C in the middle ends the demo with exit code 130, and with it its worker and its Kafka."""
    place = tmp_path / "demo"
    demo = subprocess.Popen(  # noqa: S603 -- our own program
        [*_COMMAND, str(place)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        start_new_session=True,  # the interrupt is for the demo alone
        # A test run in the background of a shell ignores the interrupt, and its children would, too.
        preexec_fn=_heed_interrupts,  # noqa: PLW1509 -- nothing is done there but this
    )
    try:
        assert demo.stdout is not None
        for line in demo.stdout:
            if line.rstrip().endswith("the worker starts"):
                break
        assert str(place) in _processes()
        demo.send_signal(signal.SIGINT)
        _out, err = demo.communicate(timeout=_BOUND_S)
    finally:
        demo.kill()
    assert demo.returncode == 130, err
    assert str(place) not in _processes()


def _processes() -> str:
    """Return the command lines of all processes but the demo's own."""
    listed = subprocess.run(
        ["ps", "-A", "-ww", "-o", "command"],  # noqa: S607 -- as it is found
        capture_output=True,
        text=True,
        check=True,
    )
    return "\n".join(line for line in listed.stdout.splitlines() if "worker demo" not in line)
