"""Proves the promises P1 to P8 on a history, or says what breaks them, with the records that show it."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from typing_extensions import override

from worker.verify.legal import ENDS, FIRST, follows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from worker.verify.history import Attempt, History, LetterSeen, RequestSeen, StateSeen

REVOKES = frozenset({"cancel_token", "cancel_agreement"})
ENDING_STEP = {"token": "cancel_token", "agreement": "cancel_agreement", "account": "notify_merchant"}
USER_STEPS = frozenset({"consult", "offer"})
EXPIRY_GRACE_MS = 5_000
"""A call decided just before `expiresAt` may begin this much later."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken promise, and the records that show it."""

    promise: str
    what: str
    shown_by: tuple[object, ...] = ()

    @override
    def __str__(self) -> str:
        return "\n".join([f"{self.promise}: {self.what}", *(f"    {record}" for record in self.shown_by)])


def check(history: History) -> list[Violation]:
    """Return each violation that the history shows; an empty list is the proof."""
    facts = _Facts(history)
    return [
        *_requests_end(facts),
        *_events_in_order(facts),
        *_revokes_permitted(facts),
        *_calls_in_time(facts),
        *_sagas_apart(facts),
        *_letters_stand(facts),
        *_commands_judged(facts),
        *_secrets_hidden(history),
    ]


class _Facts:
    """The history, sorted by what the checks ask for."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.events: dict[str, list[StateSeen]] = defaultdict(list)
        for event in history.states:
            self.events[event.saga_id].append(event)
        self.attempts: dict[str, list[Attempt]] = defaultdict(list)
        for attempt in sorted(history.attempts, key=lambda attempt: attempt.begun):
            self.attempts[attempt.saga_id].append(attempt)
        self.requests: dict[tuple[str, str], list[RequestSeen]] = defaultdict(list)
        for request in history.requests:
            if request.request_id is not None and request.binding_id is not None:
                self.requests[request.binding_id, request.request_id].append(request)

    def asked(self, event: StateSeen) -> Iterator[RequestSeen]:
        """Yield the requests that an event's saga answers so far."""
        for request_id in event.request_ids:
            yield from self.requests.get((event.binding_id, request_id), ())

    def opened_by(self, saga_id: str) -> RequestSeen | None:
        """Return the request that opened the saga."""
        events = self.events.get(saga_id)
        return None if not events else next(self.asked(events[0]), None)

    def before(self, saga_id: str, moment: int) -> list[StateSeen]:
        """Return the saga's events that were committed before the moment."""
        return [event for event in self.events.get(saga_id, ()) if event.moment < moment]


# --- P1 --------------------------------------------------------------------


def _requests_end(facts: _Facts) -> Iterator[Violation]:
    forwards = Counter(request.forwarded_from for request in facts.history.requests if request.forwarded_from)
    sagas_of: dict[tuple[str, str], set[str]] = defaultdict(set)
    for events in facts.events.values():
        for request_id in events[-1].request_ids:
            sagas_of[events[-1].binding_id, request_id].add(events[-1].saga_id)
    letters = {letter.origin for letter in facts.history.letters if letter.origin is not None}
    # A letter in another partition than its origin's is that of the forwarded record.
    parked_there = {
        letter.origin
        for letter in facts.history.letters
        if letter.origin is not None and letter.origin.split("/")[1] == str(letter.partition)
    }
    for request in facts.history.requests:
        if not request.partition_is_right:
            ways = forwards[request.origin] + (request.origin in parked_there)
            if ways > 1 or (facts.history.at_rest and ways == 0):
                yield Violation("P1", f"in the wrong partition, forwarded or parked {ways} times", (request,))
            continue
        sagas = sagas_of.get((request.binding_id or "", request.request_id or ""), set())
        if facts.history.at_rest and not sagas and request.origin not in letters:
            yield Violation(
                "P1", "the request is lost: no saga answers it and no letter names it", (request,)
            )
        yield from _served_once(facts, request, sagas)
    if facts.history.at_rest:
        for events in facts.events.values():
            if _standing(events) not in ENDS | {"parked"}:
                yield Violation("P1", "the saga came to no end", tuple(events))


def _served_once(facts: _Facts, request: RequestSeen, sagas: set[str]) -> Iterator[Violation]:
    same_id = facts.requests.get((request.binding_id or "", request.request_id or ""), [])
    identities = {(other.source, other.targets) for other in same_id}
    if same_id and request is same_id[0] and len(sagas) > len(identities):
        events = [facts.events[saga][0] for saga in sorted(sagas)]
        yield Violation("P1", "one request is served by several sagas", (request, *events))


def _standing(events: Sequence[StateSeen]) -> str:
    """Return the last state that says where the saga stands: a join leaves it as it was."""
    return next((event.state for event in reversed(events) if event.state != "joined"), "joined")


# --- P2 --------------------------------------------------------------------


def _events_in_order(facts: _Facts) -> Iterator[Violation]:
    for event_id, count in Counter(event.event_id for event in facts.history.states).items():
        if count > 1:
            same = tuple(event for event in facts.history.states if event.event_id == event_id)
            yield Violation("P2", f"event {event_id} was published {count} times", same)
    for events in facts.events.values():
        for position, event in enumerate(events, start=1):
            if event.sequence != position:
                yield Violation("P2", f"sequence {event.sequence} where {position} was due", tuple(events))
                break
        if events[0].state not in FIRST:
            yield Violation("P2", f"a saga begins with {events[0].state}", tuple(events))
        if len({event.binding_id for event in events}) > 1:
            yield Violation("P2", "one saga speaks of several bindings", tuple(events))
        yield from _moves(events)


def _moves(events: Sequence[StateSeen]) -> Iterator[Violation]:
    for index in range(1, len(events)):
        before, event = events[index - 1], events[index]
        if not follows(event, standing=_standing(events[:index]), before=before):
            yield Violation("P2", f"{event.state} after {_standing(events[:index])}", (before, event))
        # A permission that is too old is asked for again: consult alone may leave the list.
        if not set(before.done) - {"consult"} <= set(event.done):
            yield Violation("P2", "a step that was done is no longer", (before, event))
        joined = set(event.request_ids) - set(before.request_ids)
        if (event.request_ids[: len(before.request_ids)] != before.request_ids) or (
            bool(joined) != (event.state == "joined") and len(event.request_ids) != len(before.request_ids)
        ):
            yield Violation("P2", "the saga's requests changed other than by a join", (before, event))


# --- P3 --------------------------------------------------------------------


def _revokes_permitted(facts: _Facts) -> Iterator[Violation]:
    deaths = _deaths(facts)
    for attempt in facts.history.attempts:
        if attempt.owner is not None and attempt.owner != attempt.process:
            yield Violation(
                "P3", f"begun by {attempt.process}, while {attempt.owner} owned the partition", (attempt,)
            )
        opened = facts.opened_by(attempt.saga_id)
        seen = facts.before(attempt.saga_id, attempt.begun)
        if opened is None or not seen:
            yield Violation("P3", "a call before any event of its saga was committed", (attempt,))
            continue
        if not _is_revoke(attempt, opened):
            continue
        if opened.consulted and not _permitted(facts, attempt, seen):
            yield Violation("P3", "a revoke call without a committed permission", (attempt, *seen))
        asked = max((request.requested_at for request in facts.asked(seen[-1])), default=0)
        for event in deaths.get((attempt.binding_id, attempt.target), ()):
            bound_again = not attempt.target.startswith("token:") and asked >= event.at
            if event.moment < attempt.begun and not bound_again:
                yield Violation(
                    "P3", "a revoke call after a committed revoke of its target", (event, attempt)
                )
                break


def _is_revoke(attempt: Attempt, opened: RequestSeen) -> bool:
    if attempt.query:
        return False
    if attempt.step in REVOKES:
        return True
    only_account = all(target.startswith("account:") for target in opened.targets)
    return attempt.step == "notify_merchant" and only_account


def _permitted(facts: _Facts, attempt: Attempt, seen: Sequence[StateSeen]) -> bool:
    if any(event.state == "allowed" or {"consult", "cancel_token"} & set(event.done) for event in seen):
        return True
    # What an earlier saga of this token was allowed and attempted counts for this one.
    return any(
        earlier.target == attempt.target
        and earlier.saga_id != attempt.saga_id
        and earlier.begun < attempt.begun
        and earlier.step == attempt.step
        for earlier in facts.history.attempts
    )


def _deaths(facts: _Facts) -> Mapping[tuple[str, str], list[StateSeen]]:
    """Return, by binding and target, the first event of each saga that says that the target is dead."""
    deaths: dict[tuple[str, str], list[StateSeen]] = defaultdict(list)
    for saga_id, events in facts.events.items():
        opened = facts.opened_by(saga_id)
        for target in sorted(opened.targets) if opened is not None else ():
            step = ENDING_STEP[target.split(":", 1)[0]]
            first = next((event for event in events if step in event.done), None)
            if first is not None:
                deaths[first.binding_id, target].append(first)
    return deaths


# --- P4 --------------------------------------------------------------------


def _calls_in_time(facts: _Facts) -> Iterator[Violation]:
    for saga_id, attempts in facts.attempts.items():
        for attempt in attempts:
            seen = facts.before(saga_id, attempt.begun)
            event = _wait_before(seen)
            # A quick try follows in process: the wall clock may have jumped back since its call began.
            if event is not None and not attempt.quick and attempt.begun_at < (event.next_attempt_at or 0):
                early = (event.next_attempt_at or 0) - attempt.begun_at
                yield Violation("P4", f"a call {early} ms before its nextAttemptAt", (event, attempt))
            expires_at = _expiry(facts, seen)
            if (
                attempt.step in USER_STEPS
                and expires_at is not None
                and attempt.begun_at > expires_at + EXPIRY_GRACE_MS
            ):
                late = attempt.begun_at - expires_at
                yield Violation("P4", f"a call {late} ms after expiresAt", (*seen[-1:], attempt))
        yield from _attempts_counted(attempts)


def _wait_before(seen: Sequence[StateSeen]) -> StateSeen | None:
    for event in reversed(seen):
        if event.next_attempt_at is not None:
            return event
        if event.state != "joined":
            return None
    return None


def _expiry(facts: _Facts, seen: Sequence[StateSeen]) -> int | None:
    """Return the latest `expiresAt` of the saga's requests; none of one request is none of all."""
    if not seen:
        return None
    ends = [request.expires_at for request in facts.asked(seen[-1])]
    known = [end for end in ends if end is not None]
    return max(known) if known and len(known) == len(ends) else None


def _attempts_counted(attempts: Sequence[Attempt]) -> Iterator[Violation]:
    for earlier, later in pairwise(attempts):
        if earlier.ended is None or earlier.step != later.step or later.begun > earlier.ended:
            continue
        if earlier.process == later.process:
            yield Violation("P5", "two attempts of one saga at the same time", (earlier, later))


# --- P5 --------------------------------------------------------------------


def _sagas_apart(facts: _Facts) -> Iterator[Violation]:
    by_binding: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in facts.history.attempts:
        by_binding[attempt.binding_id].append(attempt)
    for attempts in by_binding.values():
        attempts.sort(key=lambda attempt: attempt.begun)
        for index, attempt in enumerate(attempts):
            for saga_id in {earlier.saga_id for earlier in attempts[:index]} - {attempt.saga_id}:
                if _active(facts, saga_id, attempts[:index], attempt.begun):
                    last = [earlier for earlier in attempts[:index] if earlier.saga_id == saga_id][-1]
                    yield Violation(
                        "P5", f"begun while saga {saga_id} of the same binding was under way", (last, attempt)
                    )


def _active(facts: _Facts, saga_id: str, attempts: Sequence[Attempt], moment: int) -> bool:
    """Say whether the saga had begun a call and had neither ended nor parked since."""
    last = max(attempt.begun for attempt in attempts if attempt.saga_id == saga_id)
    stops = ENDS | {"parked"}
    return not any(event.moment >= last and event.state in stops for event in facts.before(saga_id, moment))


# --- P6 --------------------------------------------------------------------


def _letters_stand(facts: _Facts) -> Iterator[Violation]:
    by_key: dict[str, list[LetterSeen]] = defaultdict(list)
    for letter in facts.history.letters:
        by_key[letter.key].append(letter)
    for saga_id, events in facts.events.items():
        letters = by_key.get(saga_id, [])
        stands = bool(letters) and letters[-1].stands
        if stands != (_standing(events) == "parked"):
            what = (
                "a letter stands for a saga that is not parked" if stands else "a parked saga has no letter"
            )
            yield Violation("P6", what, (*events[-2:], *letters[-2:]))
        yield from _letters_move(events, letters)
    for key, letters in by_key.items():
        named = letters[-1].saga_id
        if named is not None and named not in facts.events:
            yield Violation("P6", f"letter {key} names a saga that has no event", tuple(letters[-1:]))


def _letters_move(events: Sequence[StateSeen], letters: Sequence[LetterSeen]) -> Iterator[Violation]:
    """See that a letter is written with `parked`, and removed in the transaction that leaves it."""
    written = {letter.transaction for letter in letters if letter.stands}
    removed = {letter.transaction for letter in letters if not letter.stands}
    if None in written | removed:
        return
    for before, event in zip([None, *events], events, strict=False):
        leaves = before is not None and before.state == "parked" and event.state != "parked"
        gone_again = any(
            other.transaction == event.transaction and other.sequence > event.sequence for other in events
        )
        if event.state == "parked" and event.transaction not in written and not gone_again:
            yield Violation("P6", "parked without a letter in the same transaction", (event, *letters))
        if leaves and event.transaction not in removed | written and before is not None:
            together = before.transaction == event.transaction
            if not together:
                yield Violation("P6", "left parked without removing its letter", (before, event, *letters))


# --- P7 --------------------------------------------------------------------


def _commands_judged(facts: _Facts) -> Iterator[Violation]:
    verdicts = Counter(verdict.command for verdict in facts.history.verdicts)
    for command in facts.history.commands:
        count = verdicts[command.command_id or command.origin]
        if count > 1 or (facts.history.at_rest and count == 0):
            given = tuple(
                verdict
                for verdict in facts.history.verdicts
                if verdict.command == (command.command_id or command.origin)
            )
            yield Violation("P7", f"the command has {count} verdicts", (command, *given))
    runs = Counter(verdict.letter for verdict in facts.history.verdicts if verdict.applied and verdict.replay)
    for saga_id, events in facts.events.items():
        resumed = [event for event in events if event.state == "resumed"]
        if len(resumed) > runs[saga_id]:
            yield Violation("P7", f"resumed {len(resumed)} times for {runs[saga_id]} replays", tuple(resumed))


# --- P8 --------------------------------------------------------------------


def _secrets_hidden(history: History) -> Iterable[Violation]:
    for written in history.written:
        if any(secret in written.content for secret in history.secrets):
            yield Violation("P8", f"a secret stands in clear in {written.origin}")
