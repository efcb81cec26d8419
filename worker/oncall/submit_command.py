"""`unbinding submit`: publishes requests and notices from JSON or JSON Lines."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from contracts.origins import Origin
from contracts.topics import LogicalTopic, topic_partitions
from contracts.wire import has_control_characters
from worker.oncall.cluster import Cluster
from worker.oncall.errors import CommandError, PartlyDone, UsageWrong
from worker.oncall.options import Config, Json, Yes
from worker.oncall.outside import Outside, outside_of, run_to_end
from worker.oncall.submit import DEFAULT_SOURCE, Entry, SubmitType, read_entries
from worker.oncall.submit_view import entries_table, entry_lines, placed_table, plan_text
from worker.oncall.terminal import Terminal
from worker.ports import LogError
from worker.settings import Settings

_AT_ONCE: Final = 500


def submit_command(
    context: typer.Context,
    *,
    file: Annotated[str, typer.Argument(metavar="FILE", help="JSON or JSON Lines; - for standard input.")],
    source: Annotated[
        str, typer.Option("--source", metavar="SOURCE", help="ce_source of entries that are data alone.")
    ] = DEFAULT_SOURCE,
    event_type: Annotated[
        SubmitType | None,
        typer.Option("--type", help="Type of entries that are data alone; else their fields tell it."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check and show all, publish nothing, ask no broker.")
    ] = False,
    yes: Yes = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Publish requests and notices: all are checked first, and if one is wrong, none is published.

    Entries are CloudEvents in structured mode, or their data alone. Data alone gets an id from its own `id`,
    or from its content: submitted again, it is a repetition and makes no second saga.

    Example:
      unbinding submit requests.jsonl --source /wallet/app
      echo '{"bindingId":"bnd-1", …}' | unbinding submit - --yes
    """
    if has_control_characters(source):
        raise UsageWrong("--source has characters that are no UTF-8, or control characters")
    outside = outside_of(context)
    terminal = outside.terminal()
    settings = outside.load(config).settings
    entries = read_entries(
        outside.read_stdin() if file == "-" else Path(file).read_bytes(),
        now_at=outside.now(),
        source=source,
        event_type=event_type,
        record_bytes=settings.limits.record_bytes,
    )
    expected = {
        topic: topic_partitions(topic, partitions=settings.topics.partitions) for topic in LogicalTopic
    }
    if dry_run:
        _show(terminal, entries, None, partitions=expected, json=json)
        return
    terminal.say(plan_text(entries, where=", ".join(settings.kafka.bootstrap_servers)))
    terminal.agree("Publish?", yes=yes)
    origins: list[Origin] = []
    try:
        run_to_end(_publish(outside, settings, entries, terminal, told=origins.extend))
    except LogError as error:
        if not origins:
            raise
        _show(terminal, entries, origins, partitions=expected, json=json)
        raise PartlyDone(
            f"{len(origins)} of {len(entries)} are published for certain: {error}. Submit the same file "
            "again: what was published already counts as a repetition"
        ) from None
    _show(terminal, entries, origins, partitions=expected, json=json)


async def _publish(
    outside: Outside,
    settings: Settings,
    entries: Sequence[Entry],
    terminal: Terminal,
    *,
    told: Callable[[list[Origin]], None],
) -> None:
    async with outside.open_cluster(settings) as cluster:
        counts = await _counts(cluster, entries, expected=settings.topics.partitions)
        messages = [entry.message(partitions=counts) for entry in entries]
        with terminal.progress("publishing", total=len(messages)) as advance:
            for begin in range(0, len(messages), _AT_ONCE):
                placed = await cluster.publish(messages[begin : begin + _AT_ONCE])
                told(placed)
                advance(len(placed))


async def _counts(cluster: Cluster, entries: Sequence[Entry], *, expected: int) -> Mapping[LogicalTopic, int]:
    counts = {}
    for topic in sorted({entry.topic for entry in entries}):
        counts[topic] = await cluster.partitions(topic)
        if counts[topic] != expected:
            raise CommandError(
                f"the topic of {topic.value} has {counts[topic]} partitions, topics.partitions says "
                f"{expected}: the workers would look for bindings elsewhere; set topics.partitions to what "
                "the topics have"
            )
    return counts


def _show(
    terminal: Terminal,
    entries: Sequence[Entry],
    origins: Sequence[Origin] | None,
    *,
    partitions: Mapping[LogicalTopic, int],
    json: bool,
) -> None:
    if json:
        for line in entry_lines(entries, origins, partitions=partitions):
            terminal.data(line)
    elif origins is None:
        terminal.show(entries_table(entries, partitions=partitions))
    else:
        terminal.show(placed_table(entries, origins))
