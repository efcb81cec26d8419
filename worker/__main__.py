"""The command `unbinding`: its overview at once, everything else by the module that does it."""

import sys

from worker.oncall.commands import overview

_OVERVIEW_ASKED: tuple[list[str], ...] = ([], ["--help"], ["-h"])


def main() -> None:
    """Run the command line and end the process with its exit code."""
    arguments = sys.argv[1:]
    if arguments in _OVERVIEW_ASKED:
        sys.stdout.write(overview())
        sys.exit(0)
    # Loading the command line takes longer than all that the overview needs.
    from worker.oncall.command_line import execute  # noqa: PLC0415 - see above

    sys.exit(execute(arguments))


if __name__ == "__main__":
    main()
