import contextlib
import os
import select
import signal
import subprocess
import sys
import time

from worker.sandbox.leash import Leash

_BOUND_S = 10

PARENT = """
import subprocess, sys
from worker.sandbox.leash import Leash
with Leash() as leash:
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    leash.hold(child.pid)
    print(child.pid, flush=True)
    sys.stdin.read()
"""


def ended(pid: int) -> bool:
    """Return whether a process that is not our child has ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", encoding="ascii") as stat:  # noqa: PTH123 -- procfs
        return stat.read().rpartition(")")[2].split()[0] == "Z"  # ended, and nobody has asked how
    return False


def test_a_held_process_dies_with_a_parent_that_is_killed() -> None:
    """SIGKILL gives a parent no chance to clean up: the leash kills the child all the same."""
    with subprocess.Popen(  # noqa: S603 -- our own script
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert not ended(child)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    deadline = time.monotonic() + _BOUND_S
    while not ended(child):
        assert time.monotonic() < deadline, f"process {child} lives on"
        select.select([], [], [], 0.01)


def test_a_released_process_lives_on() -> None:
    """At the end of its block the leash lets go and kills nothing."""
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as child:  # noqa: S607 -- the system's own
        with Leash() as leash:
            leash.hold(child.pid)
        assert child.poll() is None
        child.kill()
