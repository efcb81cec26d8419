"""P3: no revoke call begins before a committed permission, none after a committed revoke of its target."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise, zip_longest
from typing import TYPE_CHECKING

from worker.verify.history import Topic
from worker.verify.violations import broken

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from worker.verify.facts import Facts
    from worker.verify.history import Attempt, RequestSeen, StateSeen
    from worker.verify.violations import Violation

_P3 = "P3"
REVOKES = frozenset({"cancel_token", "cancel_agreement"})
ENDING_STEP = {"token": "cancel_token", "agreement": "cancel_agreement", "account": "notify_merchant"}


def revokes_permitted(facts: Facts) -> Iterator[Violation]:
    """Find revoke calls without permission or after a revoke: by the ledger, and by the events alone."""
    deaths = _deaths(facts)
    for attempt in facts.history.attempts:
        yield from _judge(facts, attempt, deaths)
    yield from _revoked_by_events(facts)


def _judge(
    facts: Facts, attempt: Attempt, deaths: Mapping[tuple[str, str], list[tuple[StateSeen, int]]]
) -> Iterator[Violation]:
    if attempt.owner is not None and attempt.owner != attempt.process:
        what = f"begun by {attempt.process}, while {attempt.owner} owned the partition"
        yield broken("call.by_another", (attempt,), what=what)
    opened = facts.opened_by(attempt.saga_id)
    seen = facts.before(attempt.saga_id, attempt.begun)
    if opened is None or not seen:
        if facts.whole(Topic.REQUESTS, Topic.STATES):
            yield broken("call.unannounced", (attempt,))
        else:
            facts.coverage.leave(_P3, "calls of sagas that began before what was read")
        return
    facts.coverage.check(_P3, "calls")
    if not _is_revoke(attempt, opened):
        return
    if opened.consulted and facts.begins_in_sight(seen) and not _permitted(facts, attempt, seen):
        yield broken("revoke.unpermitted", (attempt, *seen))
    asked = max((request.requested_at for request in facts.asked(seen[-1])), default=0)
    for event, died_at in deaths.get((attempt.binding_id, attempt.target), ()):
        bound_again = not attempt.target.startswith("token:") and asked >= died_at
        if event.moment < attempt.begun and not bound_again and not _on_its_way(facts, event, attempt):
            yield broken("revoke.repeated", (event, attempt))
            break


def _on_its_way(facts: Facts, event: StateSeen, attempt: Attempt) -> bool:
    """Say whether a call may have left before a notice ended its step; the ledger notes it a little later."""
    return event.evidence == "notice" and attempt.begun_at < event.at + facts.history.limits.call_ms


def _is_revoke(attempt: Attempt, opened: RequestSeen) -> bool:
    if attempt.query:
        return False
    if attempt.step in REVOKES:
        return True
    only_account = all(target.startswith("account:") for target in opened.targets)
    return attempt.step == "notify_merchant" and only_account


def _permitted(facts: Facts, attempt: Attempt, seen: Sequence[StateSeen]) -> bool:
    if any(event.state == "allowed" or {"consult", "cancel_token"} & set(event.done) for event in seen):
        return True
    # What an earlier saga of this token was allowed and attempted counts for this one.
    return _parked_in_doubt(facts, attempt, since=seen[0].moment) or any(
        earlier.target == attempt.target
        and earlier.saga_id != attempt.saga_id
        and earlier.begun < attempt.begun
        and earlier.step == attempt.step
        for earlier in facts.history.attempts
    )


def _parked_in_doubt(facts: Facts, attempt: Attempt, *, since: int) -> bool:
    """Say whether another saga stood parked at this very revoke with an attempt decided.

    Its worker may have been killed before the call left: then no ledger has it, and nobody can know.
    """
    for saga_id, events in facts.events.items():
        opened = facts.opened_by(saga_id)
        if saga_id == attempt.saga_id or events[0].binding_id != attempt.binding_id:
            continue
        if opened is None or attempt.target not in opened.targets:
            continue
        for event, after in zip_longest(events, events[1:]):
            in_doubt = event.state == "parked" and event.step == attempt.step and event.attempts > 0
            stood = event.moment < attempt.begun and (after is None or after.moment > since)
            if in_doubt and stood:
                return True
    return False


def _deaths(facts: Facts) -> Mapping[tuple[str, str], list[tuple[StateSeen, int]]]:
    """Return, by binding and target, each saga's first event that says that it is dead, and since when."""
    deaths: dict[tuple[str, str], list[tuple[StateSeen, int]]] = defaultdict(list)
    for saga_id, events in facts.events.items():
        opened = facts.opened_by(saga_id)
        if opened is None:
            continue
        for target in sorted(opened.targets):
            step = ENDING_STEP[target.split(":", 1)[0]]
            first = next((event for event in events if step in event.done), None)
            if first is not None:
                died_at = _died_at(facts, first, target, step=step, opened=opened)
                deaths[first.binding_id, target].append((first, died_at))
    return deaths


def _died_at(facts: Facts, event: StateSeen, target: str, *, step: str, opened: RequestSeen) -> int:
    """Return since when the target is dead, at the earliest.

    A call or query of the saga's own says so itself, a notice too. What somebody else had ended was found
    dead at the saga's turn: that was after its request, or it would have been called. A worker whose clock
    was set back dates it before the request: then in doubt it calls again.
    """
    if event.step == step and event.evidence in (None, "query"):
        return event.at
    told = (notice.at for notice in facts.history.notices if target in notice.targets)
    known = [at for at in told if opened.requested_at <= at <= event.at] if event.evidence == "notice" else []
    return min(event.at, min(known, default=opened.requested_at))


# --- by the events alone: they are all that there is without a ledger ----------------------


def _revoked_by_events(facts: Facts) -> Iterator[Violation]:
    tokens: dict[tuple[str, str], list[StateSeen]] = defaultdict(list)
    allowed = {event.binding_id for event in facts.history.states if _permits(event)}
    for saga_id, events in facts.events.items():
        opened = facts.opened_by(saga_id)
        revoked = next((event for event in events if _by_a_call(event)), None)
        if revoked is None:
            continue
        if opened is None:
            facts.coverage.leave(_P3, "revokes whose request was not read")
            continue
        facts.coverage.check(_P3, "revokes")
        # What a parked saga was allowed and attempted counts for a later one of its binding.
        if opened.consulted and facts.begins_in_sight(events) and revoked.binding_id not in allowed:
            yield broken("revoked.unpermitted", (*events[: events.index(revoked) + 1],))
        for target in opened.targets:
            if target.startswith("token:"):
                tokens[revoked.binding_id, target].append(revoked)
    for same in tokens.values():
        yield from _once(facts, same)


def _permits(event: StateSeen) -> bool:
    """Say whether later sagas of the binding may have their permission from this event's saga."""
    return event.state == "allowed" or (event.state == "parked" and event.step == "cancel_token")


def _by_a_call(event: StateSeen) -> bool:
    return event.state == "revoked" and event.step == "cancel_token" and event.evidence is None


def _once(facts: Facts, revoked: Sequence[StateSeen]) -> Iterator[Violation]:
    remember_ms = facts.history.limits.remember_ms
    for first, event in pairwise(revoked):
        if remember_ms is None or event.at - first.at <= remember_ms:
            yield broken("revoked.again", (first, event))
