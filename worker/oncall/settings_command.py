"""`unbinding settings`: shows each setting and where it came from, prints an example, checks."""

from typing import Annotated

import typer

from worker.oncall.errors import ExitCode
from worker.oncall.options import Config, Json
from worker.oncall.outside import outside_of
from worker.oncall.settings_check import findings_of
from worker.oncall.settings_view import (
    findings_lines,
    findings_table,
    may_start,
    settings_lines,
    settings_table,
)
from worker.settings import describe, example

settings = typer.Typer(add_completion=False, rich_markup_mode=None)


@settings.callback(invoke_without_command=True)
def show_command(
    context: typer.Context,
    *,
    only_example: Annotated[
        bool, typer.Option("--example", help="Print a complete, commented settings file instead.")
    ] = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Show each setting with its value and where it came from; secrets as fingerprints.

    Example:
      unbinding settings
      unbinding settings --example > unbinding.toml
      unbinding settings check
    """
    if context.invoked_subcommand is not None:
        return
    outside = outside_of(context)
    terminal = outside.terminal()
    if only_example:
        terminal.line(example().rstrip("\n"))
        return
    rows = describe(outside.load(config))
    if json:
        for line in settings_lines(rows):
            terminal.line(line)
    else:
        terminal.show(settings_table(rows))


@settings.command("check")
def check_command(context: typer.Context, *, json: Json = False, config: Config = None) -> None:
    """Check the settings, and the files that they name, without starting anything.

    Exit code 1 if a worker could not start with them.

    Example:
      unbinding settings check --config unbinding.toml
    """
    outside = outside_of(context)
    terminal = outside.terminal()
    findings = findings_of(outside.load(config))
    if json:
        for line in findings_lines(findings):
            terminal.line(line)
    elif findings:
        terminal.show(findings_table(findings))
    else:
        terminal.say("the settings are as they should be")
    if not may_start(findings):
        raise typer.Exit(ExitCode.ERROR)
