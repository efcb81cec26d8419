"""The command `unbinding`: its overview at once, everything else by the module that does it."""

import io
import os
import sys

from worker.oncall.commands import overview

_OVERVIEW_ASKED: tuple[list[str], ...] = ([], ["--help"], ["-h"])


def main() -> None:
    """Run the command line and end the process with its exit code."""
    _mend_streams()
    arguments = sys.argv[1:]
    code = 0
    if arguments in _OVERVIEW_ASKED:
        sys.stdout.write(overview())
    else:
        # Loading the command line takes longer than all that the overview needs.
        from worker.oncall.command_line import execute  # noqa: PLC0415 - see above

        code = execute(arguments)
    _let_go()
    sys.exit(code)


def _mend_streams() -> None:
    """See that there is something to write to, and that it takes every character in some form."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - for as long as we live
    if sys.stdout is None:
        sys.stderr.write("unbinding: standard output is closed: send it somewhere, such as to /dev/null\n")
        sys.exit(1)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _let_go() -> None:
    """Write out what is left; where nobody reads any more, Python must not complain of it at its end."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
