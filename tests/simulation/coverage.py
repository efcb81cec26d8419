"""What the scenarios together have to reach: a closed list, and what none can reach, with the reason."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from contracts.states import Evidence, Reason, State, Step
from worker.saga.table import MOVES, Move

if TYPE_CHECKING:
    from tests.simulation.scenario import Outcome

REFUSALS = {
    "no open letter": "no open dead letter has this key",
    "not parked": "the saga is not parked",
    "moved on": "the letter moved on",
    "discard only": "can only be discarded",
    "key gone": "its sealing key is gone",
    "replayed too often": "another run is unlikely to end otherwise",
    "from start after a revoke": "a revocation was attempted",
    "targets dead": "all that the request wants dead is dead by now",
    "rebinding offered": "a rebinding was offered since",
    "rebinding under way": "a rebinding of this binding is under way",
    "a notice": "it came as a notice",
    "origin gone": "its value was not copied, and",
    "origin unread": "could not be read now",
    "unreadable command": "the value is",
}
"""Why commands are refused: a name, and the words of the verdict that it is known by."""

CAUSES = {
    "shard.refused": {
        "journal lost": "the journal has no position",
        "position lost": "the next record to take is at offset",
        "key missing": "is named in the journal and not in the key ring",
        "restore stalled": "an open transaction stands before the high watermark",
        "write refused": "not authorized to write",
        "no permission": "no permission on the transactional id",
    },
    "transaction.failed": {
        "batch": "a batch to",
        "end": "no answer to EndTxn",
        "read": "a read got no answer",
        "fence": "no answer to InitProducerId",
    },
    "transaction.split": {
        "refused": "not authorized to write",
        "too large": "is larger than",
    },
    "record.ignored": {"repetition": "a repetition"},
    "command.refused": REFUSALS,
}
"""Log events that are counted by their cause: a name, and the words that it is known by."""

EVENTS = (
    "shard.claimed",
    "shard.restored",
    "shard.kept",
    "shard.opened",
    "shard.drained",
    "shard.fenced",
    "shard.paused",
    "shard.resumed",
    "saga.crashed",
    "saga.finished",
    "record.forwarded",
    "letter.written",
    "command.applied",
    "line.stopped",
    "line.opened",
)
"""Log events of a shard that matter, whatever their cause."""

DEEDS = (
    "kill",
    "kill again",
    "kill all",
    "kill in drain",
    "end",
    "freeze",
    "freeze two",
    "cut",
    "move",
    "compact",
    "retain",
    "break commits",
    "slow network",
    "refuse",
    "refuse fence",
    "foreign",
    "hold",
    "stop line",
    "jump",
    "rotate keys",
    "lose key",
    "lose requests",
    "repeat command",
    "break contract of command",
)

EXPECTED = frozenset(
    {
        *(f"state {state}" for state in State),
        *(f"reason {reason}" for reason in Reason),
        *(f"evidence {evidence}" for evidence in Evidence),
        *(f"step {step} gave {result}" for (step, result), move in MOVES.items() if move is not Move.ILLEGAL),
        *EVENTS,
        *(f"{event}: {name}" for event, names in CAUSES.items() for name in names),
        *(f"deed {deed}" for deed in DEEDS),
        *(f"{state} at {step}" for step in Step for state in (State.WAITING, State.HELD, State.PARKED)),
        "query",
    }
)
"""All that the scenarios have to reach, but for what is unreachable."""

UNREACHABLE = {
    "step notify_merchant gave done_already": "no document has a code for it: a repeated notice is a success",
    "step notify_hub gave done_already": "no document has a code for it: a repeated notice is a success",
}
"""What no scenario can reach, and why; a test sees that this stays true."""

RARE = {
    "command.refused: rebinding offered": "needs five things in a row; tests/shard has it as a story",
    "command.refused: rebinding under way": "a replay within one short call; tests/shard has it as a story",
    "command.refused: origin unread": "a read that fails at one moment; tests/shard has it as a story",
}
"""What thousands of seeds may reach or not: it is not demanded here."""


def missing(found: Counter[str]) -> list[str]:
    """Name what is on the list and was not reached."""
    return sorted(EXPECTED - set(found) - set(UNREACHABLE) - set(RARE))


def reached(outcome: Outcome) -> Counter[str]:
    """Name what an outcome reached, by the names of the list; what it told beside is left out."""
    found: Counter[str] = Counter()
    for event in outcome.history.states:
        found[f"state {event.state}"] += 1
        if event.reason is not None:
            found[f"reason {event.reason}"] += 1
        if event.evidence is not None:
            found[f"evidence {event.evidence}"] += 1
        if event.step is not None:
            found[f"{event.state} at {event.step}"] += 1
    for letter in outcome.history.letters:
        if letter.reason is not None:
            found[f"reason {letter.reason}"] += 1
    for attempt in outcome.history.attempts:
        found["query"] += attempt.query
        if attempt.result_class is not None:
            found[f"step {attempt.step} gave {attempt.result_class}"] += 1
    for told, count in outcome.reached.items():
        event_name, _, cause = told.partition(" | ")
        found[event_name] += count
        for name, words in CAUSES.get(event_name, {}).items():
            if words in cause:
                found[f"{event_name}: {name}"] += count
    return found
