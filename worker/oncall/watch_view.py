"""How a state is shown: one line, its word in a colour that says how good it is."""

from typing import Final

from rich.text import Text

from contracts.states import BindingStateChanged, State
from contracts.wire import rfc3339
from worker.oncall.watch import Sighting, StateEvent

_STYLES: Final[dict[State, str]] = {
    State.REQUESTED: "cyan",
    State.JOINED: "cyan",
    State.ALLOWED: "blue",
    State.REFUSED: "yellow",
    State.LAPSED: "yellow",
    State.REVOKED: "green",
    State.UNBOUND: "bold green",
    State.OFFERED: "bold green",
    State.WAITING: "magenta",
    State.HELD: "magenta",
    State.PARKED: "bold red",
    State.RESUMED: "cyan",
    State.DISCARDED: "dim",
}
_WIDTH: Final = max(len(state) for state in State)
_SAGA_SHOWN: Final = 8
_LINKS: Final = (
    ("auth_url", "authUrl"),
    ("normal_url", "normalUrl"),
    ("scheme_url", "schemeUrl"),
    ("applink_url", "applinkUrl"),
)


def state_text(event: StateEvent) -> Text:
    """Return one line: moment, binding, saga (its start) and sequence, state, and what caused it."""
    moment = rfc3339(event.at_ms)
    line = Text()
    line.append(f"{moment[:10]} {moment[11:23]}  ", style="dim")
    line.append(event.binding_id)
    line.append(f"  {event.saga_id[:_SAGA_SHOWN]}/{event.sequence}  ", style="dim")
    line.append(event.state, style=_STYLES[event.state])
    causes = ", ".join(_causes(event))
    if causes:
        line.append(f"{'':{_WIDTH - len(event.state)}}  {causes}")
    return line


def sighting_line(sighting: Sighting) -> dict[str, object]:
    """Return a state as data for JSON Lines: the event as it was published, and where it lies."""
    where: dict[str, object] = {"partition": sighting.partition, "offset": sighting.offset}
    if sighting.event is None:
        return {**where, "problem": sighting.problem}
    return {**where, "type": sighting.event.type, **sighting.event.model_dump(mode="json", exclude_none=True)}


def problem_text(sighting: Sighting) -> str:
    """Return what to say of a record that is no state."""
    return (
        f"partition {sighting.partition}, offset {sighting.offset} is no state ({sighting.problem}): "
        "only workers should write this topic"
    )


def _causes(event: StateEvent) -> list[str]:
    found = []
    if event.step is not None:
        found.append(" ".join(part for part in (event.step, event.outcome, event.result_code) if part))
    if event.attempts > 1:
        found.append(f"{event.attempts} attempts")
    if isinstance(event, BindingStateChanged):
        found += _details(event)
    else:
        given = [name for field, name in _LINKS if getattr(event, field) is not None]
        found.append(f"links: {' '.join(given)}")
    return found


def _details(event: BindingStateChanged) -> list[str]:
    found = []
    if event.reason is not None:
        found.append(f"reason {event.reason}")
    if event.refuse_reason is not None:
        found.append(f"because {event.refuse_reason}")
    if event.next_attempt_at_ms is not None:
        found.append(f"next attempt {rfc3339(event.next_attempt_at_ms)[11:19]}")
    if event.evidence is not None:
        found.append(f"evidence {event.evidence}")
    if event.done and event.state in (State.REVOKED, State.PARKED, State.WAITING, State.HELD):
        found.append(f"done: {' '.join(event.done)}")
    return found
