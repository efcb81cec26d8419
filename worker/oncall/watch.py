"""Following the states of bindings: which records count, and when to stop."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from contracts.cloudevents import UnreadableEvent, read_event
from contracts.states import BindingRebindOffered, BindingStateChanged, read_state
from contracts.topics import LogicalTopic
from contracts.wire import InvalidEvent
from worker.oncall.cluster import Cluster, Found

StateEvent = BindingStateChanged | BindingRebindOffered


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """One state as it was read, or what is wrong with its record."""

    partition: int
    offset: int
    event: StateEvent | None
    problem: str | None = None


def sight(found: Found) -> Sighting:
    """Return what a record of the states topic says."""
    try:
        event = read_state(read_event(found.value, found.headers))
    except (UnreadableEvent, InvalidEvent) as error:
        return Sighting(partition=found.partition, offset=found.offset, event=None, problem=str(error))
    return Sighting(partition=found.partition, offset=found.offset, event=event)


async def watch(
    cluster: Cluster,
    *,
    since: int | None,
    wanted: Callable[[StateEvent], bool],
    until_idle_ms: int | None,
    elapsed: Callable[[], int],
) -> AsyncIterator[Sequence[Sighting]]:
    """Give the states that are wanted as they come; `since` as in `Cluster.follow`.

    Ends when nothing that is wanted came for `until_idle_ms`, else never. Records that are no states are
    given, too: somebody writes the topic who should not.
    """
    last = elapsed()
    async for batch in cluster.follow(LogicalTopic.STATES, since=since):
        sightings = [
            sighting for sighting in map(sight, batch) if sighting.event is None or wanted(sighting.event)
        ]
        now = elapsed()
        if any(sighting.event is not None for sighting in sightings):
            last = now
        if sightings:
            yield sightings
        # Records that nobody wants are a sign that reading has not caught up yet.
        elif not batch and until_idle_ms is not None and now - last >= until_idle_ms:
            return


def begin_at(text: str, *, now_at: int, parse: Callable[[str], int]) -> int | None:
    """Return the `since` that `earliest`, `latest` or a duration back from now means; `parse` reads it."""
    if text == "latest":
        return None
    if text == "earliest":
        return 0
    return max(0, now_at - parse(text))
