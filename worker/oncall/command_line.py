"""The command line itself: finds the module of a command, and maps every error at one seam."""

import importlib
import logging
import sys
from difflib import get_close_matches
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command
from typing_extensions import override

from worker.oncall.commands import COMMANDS, overview
from worker.oncall.errors import told
from worker.oncall.harmless import harmless

NAME = "unbinding"


class CommandGroup(TyperGroup):
    """The group of all commands; each command's module is imported when it is asked for."""

    @override
    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    @override
    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            near = get_close_matches(cmd_name, COMMANDS, n=1)
            if near:
                ctx.fail(f"No such command '{cmd_name}'. Did you mean '{near[0]}'?")
            return None
        found = getattr(importlib.import_module(entry.module), entry.name)
        if not isinstance(found, typer.Typer):
            single = typer.Typer(add_completion=False, rich_markup_mode=None)
            single.command(cmd_name)(found)
            found = single
        command = get_command(found)
        command.name = cmd_name
        _keep_examples(command)
        return command

    @override
    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write(overview())

    @override
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (typer.TyperException, typer.Exit, typer.Abort):
            raise
        except (Exception, KeyboardInterrupt) as error:
            if ctx.params.get("debug"):
                raise
            message, code = told(error)
            if message:
                sys.stderr.write(f"{NAME}: {harmless(message)}\n")
            raise typer.Exit(code) from None


def _keep_examples(command: Any) -> None:
    """Keep the lines of an example apart: Typer would fill them into a paragraph, but for this mark."""
    command.help = (command.help or "").replace("\nExample:\n", "\n\b\nExample:\n")
    for below in getattr(command, "commands", {}).values():
        _keep_examples(below)


app = typer.Typer(
    name=NAME,
    cls=CommandGroup,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _begin(
    *, debug: Annotated[bool, typer.Option("--debug", help="Show where an error was raised.")] = False
) -> None:
    """End the tie between a merchant account and a wallet."""
    if not debug:
        # What libraries grumble is told, in our words, by the errors that they raise.
        logging.getLogger().addHandler(logging.NullHandler())


def execute(arguments: list[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        app(args=arguments, prog_name=NAME)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0
