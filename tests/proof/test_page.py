from __future__ import annotations

import subprocess
import sys

from tests.proof.catalogue import ROOT


def test_pages_are_as_the_tests_draw_them() -> None:
    """The pages of docs/proof name the tests that there are: run `python -m tests.proof` if it does not."""
    # In a process of its own: pytest does not collect twice in one.
    done = subprocess.run(
        [sys.executable, "-m", "tests.proof", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
