"""Ties a child process to this one: if this one dies, by whatever signal, the child's group is killed.

A tiny shell reads a pipe whose other end only this process holds. It is told the process group to
kill; when the pipe ends without a release, it kills. Unlike Linux's PR_SET_PDEATHSIG this does not
depend on the thread that started the child, and it works on macOS as well.
"""

import contextlib
import subprocess
from types import TracebackType
from typing import Self

_SCRIPT = 'group=; while read -r line; do group=$line; done; [ -z "$group" ] || kill -s KILL -- "-$group"'


class Leash:
    """Holds at most one process group; a context manager that lets go at its end."""

    def __enter__(self) -> Self:
        self._shell = subprocess.Popen(  # noqa: S603 -- a fixed command
            ["/bin/sh", "-c", _SCRIPT],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C at the terminal is ours to handle, not the leash's
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(BrokenPipeError):  # somebody killed the shell: nothing is held then
            self.release()
        if self._shell.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._shell.stdin.close()
        self._shell.wait()

    def hold(self, group: int) -> None:
        """Kill this process group if this process dies."""
        self._tell(str(group))

    def release(self) -> None:
        """Let the held group live."""
        self._tell("")

    def _tell(self, line: str) -> None:
        if self._shell.stdin is not None:
            self._shell.stdin.write(line.encode() + b"\n")
            self._shell.stdin.flush()
