"""P7: at most one run per command, from the failed step, with the results it already has."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from worker.verify.facts import place_of
from worker.verify.history import Topic
from worker.verify.violations import broken

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.verify.facts import Facts
    from worker.verify.history import CommandSeen, StateSeen, VerdictSeen
    from worker.verify.violations import Violation

_P7 = "P7"
_REVOKES = frozenset({"cancel_token", "cancel_agreement"})


def commands_judged(facts: Facts) -> Iterator[Violation]:
    """Find commands without a verdict or with several, and runs that nobody ordered."""
    for record in facts.history.unreadable:
        if record.topic is Topic.VERDICTS:
            yield broken("verdict.unreadable", (record,))
    verdicts: dict[str, list[VerdictSeen]] = defaultdict(list)
    for verdict in facts.history.verdicts:
        verdicts[verdict.command].append(verdict)
    commands: dict[str, list[CommandSeen]] = defaultdict(list)
    for command in facts.history.commands:
        commands[command.command_id or command.origin].append(command)
    for name, given in commands.items():
        yield from _judged(facts, given, verdicts.get(name, []))
    if facts.whole(Topic.COMMANDS):
        for name, found in verdicts.items():
            if name not in commands:
                yield broken("verdict.of_no_command", found)
    yield from _runs(facts)


def _judged(facts: Facts, given: list[CommandSeen], verdicts: list[VerdictSeen]) -> Iterator[Violation]:
    """See that each record of a command, the same command sent twice too, has one verdict."""
    due = sum(_is_due(facts, command) for command in given)
    facts.coverage.leave(_P7, "commands that were not taken yet", len(given) - due)
    count = len(verdicts)
    missing = max(0, due - count)
    if missing and not facts.whole(Topic.VERDICTS):
        facts.coverage.leave(
            _P7, "commands without a verdict: unjudged, or judged in what was not read", missing
        )
        facts.coverage.check(_P7, "commands", len(given) - missing)
        return
    facts.coverage.check(_P7, "commands", len(given))
    if missing:
        what = f"the command has {count} verdicts"
        yield broken("command.unjudged", (*given, *verdicts), what=what)
    if count > len(given) and facts.whole(Topic.COMMANDS):
        what = f"the command has {count} verdicts"
        yield broken("command.judged_again", (*given, *verdicts), what=what)
    if sum(verdict.applied for verdict in verdicts) > 1 and count <= len(given):
        yield broken("command.applied_again", (*given, *verdicts))


def _is_due(facts: Facts, command: CommandSeen) -> bool:
    if facts.history.ended_before:
        return False
    if facts.history.at_rest:
        return True
    partition, offset = place_of(command.origin)
    journal = facts.journals.get(partition)
    return (
        journal is not None and journal.commands_position is not None and offset < journal.commands_position
    )


def _runs(facts: Facts) -> Iterator[Violation]:
    """See that each run follows an applied replay, and each applied replay is followed by one run."""
    applied: dict[str, list[VerdictSeen]] = defaultdict(list)
    for verdict in facts.history.verdicts:
        if verdict.applied:
            applied[verdict.letter or ""].append(verdict)
    for saga_id, events in facts.events.items():
        orders = applied.get(saga_id, [])
        facts.coverage.check(_P7, "applied commands", len(orders))
        for state, kind, replay in (
            ("resumed", "replay.unordered", True),
            ("discarded", "discard.unordered", False),
        ):
            shown = [event for event in events if event.state == state]
            ordered = [verdict for verdict in orders if verdict.replay is replay]
            yield from _matched(facts, shown, ordered, kind, events=events)


def _matched(
    facts: Facts, shown: list[StateSeen], ordered: list[VerdictSeen], kind: str, *, events: list[StateSeen]
) -> Iterator[Violation]:
    if len(shown) > len(ordered) and facts.whole(Topic.VERDICTS):
        what = f"{shown[0].state} {len(shown)} times for {len(ordered)} applied commands"
        yield broken(kind, (*shown, *ordered), what=what)
        return
    by_sequence = {event.sequence: event for event in events}
    for verdict in ordered:
        if verdict.sequence is None:
            continue
        before = by_sequence.get(verdict.sequence)
        after = by_sequence.get(verdict.sequence + 1)
        if after not in shown and (after is not None or events[-1].sequence <= verdict.sequence):
            yield broken("verdict.without_effect", (verdict, *(e for e in (before, after) if e is not None)))
        elif verdict.from_start:
            # What a notice or another saga ended was no attempt of its own.
            own = [event for event in events if event.sequence <= verdict.sequence and _is_own_revoke(event)]
            if own:
                yield broken("replay.of_a_revoke", (own[-1], verdict))


def _is_own_revoke(event: StateSeen) -> bool:
    return event.state == "revoked" and event.step in _REVOKES and event.evidence is None
