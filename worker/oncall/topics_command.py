"""`unbinding topics`: compares the cluster's topics with what they should be, and makes what is missing."""

import typer

from worker.kafka.topics import Finding, Remedy
from worker.oncall.errors import ExitCode, PartlyDone
from worker.oncall.options import Config, Json, Yes
from worker.oncall.outside import Outside, outside_of, run_to_end
from worker.oncall.terminal import Terminal
from worker.oncall.topics_view import finding_lines, findings_table
from worker.settings import Settings

topics = typer.Typer(
    help="Check the topics, or apply what is missing.", add_completion=False, rich_markup_mode=None
)


@topics.command("check")
def check_command(context: typer.Context, *, json: Json = False, config: Config = None) -> None:
    """Say what is wrong with the topics, and what to do; changes nothing.

    Exit code 1 if a worker must not run with them as they are.

    Example:
      unbinding topics check
    """
    outside = outside_of(context)
    terminal = outside.terminal()
    findings = run_to_end(_check(outside, outside.load(config).settings))
    _show(terminal, findings, title="Topics", json=json)
    if not findings:
        terminal.say("all topics are as they should be")
    if any(finding.serious for finding in findings):
        raise typer.Exit(ExitCode.ERROR)


@topics.command("apply")
def apply_command(
    context: typer.Context, *, yes: Yes = False, json: Json = False, config: Config = None
) -> None:
    """Create the topics that are missing, and set configs where that can lose nothing.

    Never takes anything away, and never changes a number of partitions. What is left for a person is told,
    with exit code 3.

    Example:
      unbinding topics apply --yes
    """
    outside = outside_of(context)
    terminal = outside.terminal()
    settings = outside.load(config).settings
    findings = run_to_end(_check(outside, settings))
    todo = [finding for finding in findings if finding.remedy is not Remedy.BY_HAND]
    left = [finding for finding in findings if finding.remedy is Remedy.BY_HAND]
    if todo:
        terminal.say(findings_table(todo, title=f"Plan for {', '.join(settings.kafka.bootstrap_servers)}"))
        terminal.agree("Apply?", yes=yes)
        left = run_to_end(_apply(outside, settings, findings))
        if json:
            for line in finding_lines(todo):
                terminal.data({**line, "applied": True})
        terminal.say(f"applied: {len(todo)}")
    else:
        terminal.say("nothing to apply")
    if left:
        _show(terminal, left, title="Left for a person", json=json)
        raise PartlyDone(f"{len(left)} left for a person: see the table")


async def _check(outside: Outside, settings: Settings) -> list[Finding]:
    async with outside.open_cluster(settings) as cluster:
        return await cluster.check_topics()


async def _apply(outside: Outside, settings: Settings, findings: list[Finding]) -> list[Finding]:
    async with outside.open_cluster(settings) as cluster:
        return await cluster.apply_topics(findings)


def _show(terminal: Terminal, findings: list[Finding], *, title: str, json: bool) -> None:
    if json:
        for line in finding_lines(findings):
            terminal.data(line)
    elif findings:
        terminal.show(findings_table(findings, title=title))
