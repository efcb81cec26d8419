"""How what is submitted is shown."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from rich.table import Table
from rich.text import Text

from contracts.origins import Origin
from contracts.topics import LogicalTopic, partition_of
from worker.oncall.submit import Entry, repetitions

ROWS_SHOWN = 30


def plan_text(entries: Sequence[Entry], *, where: str) -> str:
    """Return what is about to be published, in a few lines."""
    kinds = Counter(entry.event_type for entry in entries)
    lines = [f"to be published at {where}:", *(f"  {kind}: {count}" for kind, count in kinds.items())]
    again = repetitions(entries)
    if again:
        lines.append(f"  {again} of them have the identity of an earlier one: they count as repetitions")
    return "\n".join(lines)


def entries_table(entries: Sequence[Entry], *, partitions: Mapping[LogicalTopic, int]) -> Table:
    """Return what would be published (`--dry-run`)."""
    table = _table(len(entries), "would be published")
    for entry in entries[:ROWS_SHOWN]:
        table.add_row(*_cells(entry), _partition(entry, partitions), "")
    return table


def placed_table(entries: Sequence[Entry], origins: Sequence[Origin]) -> Table:
    """Return what was published, and where it lies."""
    table = _table(len(origins), "published")
    for entry, origin in list(zip(entries, origins, strict=False))[:ROWS_SHOWN]:
        table.add_row(*_cells(entry), str(origin.partition), str(origin.offset))
    return table


def entry_lines(
    entries: Sequence[Entry],
    origins: Sequence[Origin] | None,
    *,
    partitions: Mapping[LogicalTopic, int],
) -> Iterator[dict[str, object]]:
    """Yield what was published, or with `None` would be, as data for JSON Lines."""
    for index, entry in enumerate(entries if origins is None else entries[: len(origins)]):
        line: dict[str, object] = {
            "place": entry.place,
            "id": entry.event_id,
            "source": entry.source,
            "type": entry.event_type,
            "bindingId": entry.binding_id,
        }
        if origins is None:
            told = _partition(entry, partitions)
            line |= {"topic": entry.topic.value, "partition": int(told) if told.isdigit() else None}
        else:
            origin = origins[index]
            line |= {"topic": origin.topic, "partition": origin.partition, "offset": origin.offset}
        yield line


def _partition(entry: Entry, partitions: Mapping[LogicalTopic, int]) -> str:
    return "any" if entry.binding_id is None else str(partition_of(entry.binding_id, partitions[entry.topic]))


def _table(count: int, what: str) -> Table:
    title = f"{count} {what}" + (f", the first {ROWS_SHOWN}" if count > ROWS_SHOWN else "")
    table = Table(title=title, title_justify="left", expand=False)
    for column in ("where", "type", "id", "binding", "topic"):
        table.add_column(column, overflow="fold")
    table.add_column("partition", justify="right")
    table.add_column("offset", justify="right")
    return table


def _cells(entry: Entry) -> tuple[Text, ...]:
    return (
        Text(entry.place),
        Text(entry.event_type),
        Text(entry.event_id),
        Text(entry.binding_id or "none"),
        Text(entry.topic.value),
    )
