"""The list of commands: name, what it does in one line, and where it is; importing it costs nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class CommandEntry:
    """One command of `unbinding`."""

    sentence: str
    module: str
    """Imported when the command is used, not before."""
    name: str
    """In the module: a function for Typer, or a Typer application with commands of its own."""


COMMANDS: Final[Mapping[str, CommandEntry]] = MappingProxyType(
    {
        "run": CommandEntry("the worker", "worker.oncall.run_command", "run_command"),
        "demo": CommandEntry(
            "everything on this machine: Kafka, payment side, workers, sample requests",
            "worker.oncall.demo.command",
            "demo_command",
        ),
        "sandbox": CommandEntry(
            "a stand-in for the payment side", "worker.oncall.sandbox_command", "sandbox_command"
        ),
        "submit": CommandEntry(
            "publish requests from JSON or JSON Lines", "worker.oncall.submit_command", "submit_command"
        ),
        "watch": CommandEntry("follow binding states", "worker.oncall.watch_command", "watch_command"),
        "letters": CommandEntry(
            "dead letters: list, show, replay, discard", "worker.oncall.letters_command", "letters"
        ),
        "verify": CommandEntry(
            "prove the promises on a cluster, or show what breaks them",
            "worker.oncall.verify_command",
            "verify_command",
        ),
        "topics": CommandEntry(
            "check the topics, or apply what is missing", "worker.oncall.topics_command", "topics"
        ),
        "keys": CommandEntry("make keys", "worker.oncall.keys_command", "keys"),
        "settings": CommandEntry(
            "show the settings, an example, or check them", "worker.oncall.settings_command", "settings"
        ),
        "bench": CommandEntry("the benchmark", "worker.oncall.bench_command", "bench_command"),
    }
)

_HEAD: Final = """\
Usage: unbinding [--debug] COMMAND …

Ends the tie between a merchant account and a wallet: a Kafka saga worker, and the tools for those on call.

Commands:
"""
_TAIL: Final = """
Each command tells more: unbinding COMMAND --help
Settings come from the environment (UNBINDING_…) or a TOML file (UNBINDING_CONFIG, --config FILE).
Exit codes: 0 done, 1 error, 2 usage, 3 partly done, 4 refused, 5 nothing matched, 130 interrupted.

Try it:  unbinding demo
"""


def overview() -> str:
    """Return the help of `unbinding` itself."""
    width = max(map(len, COMMANDS))
    lines = (f"  {name:{width}}  {entry.sentence}\n" for name, entry in COMMANDS.items())
    return _HEAD + "".join(lines) + _TAIL
