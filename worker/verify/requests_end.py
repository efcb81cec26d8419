"""P1: every record of the requests ends in exactly one way, and none is lost."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from worker.verify.facts import place_of, standing
from worker.verify.history import Topic
from worker.verify.legal import ENDS
from worker.verify.violations import broken

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.verify.facts import Facts
    from worker.verify.history import Limits, RequestSeen, StateSeen
    from worker.verify.violations import Violation

_P1 = "P1"


def requests_passed_on(facts: Facts) -> Iterator[Violation]:
    """Find requests in the wrong partition that were not passed on, or more than once."""
    accounts = _Accounts(facts)
    for request in facts.history.requests:
        if not request.partition_is_right:
            yield from _passed_on(facts, accounts, request)


def requests_end(facts: Facts) -> Iterator[Violation]:
    """Find requests in the right partition that are lost or served twice, and sagas without an end."""
    accounts = _Accounts(facts)
    for request in facts.history.requests:
        if not request.partition_is_right:
            continue
        if not facts.is_due(request):
            facts.coverage.leave(_P1, "requests that were not taken yet")
        elif accounts.has(request):
            facts.coverage.check(_P1, "requests")
        elif facts.whole(Topic.STATES, Topic.VERDICTS):
            facts.coverage.check(_P1, "requests")
            yield broken(
                "request.lost",
                (request,),
                what="the request is lost: no saga answers it and no letter names it",
            )
        else:
            facts.coverage.leave(_P1, "requests without an event: lost, or repeated from before the window")
    for same in facts.requests.values():
        yield from _served_once(facts, accounts, [each for each in same if each.partition_is_right])
    if facts.history.at_rest and not facts.history.ended_before:
        for events in facts.events.values():
            facts.coverage.check(_P1, "sagas")
            if standing(events) not in ENDS | {"parked"}:
                yield broken("saga.unended", events, what="the saga came to no end")


class _Accounts:
    """Who accounts for a request."""

    def __init__(self, facts: Facts) -> None:
        self.sagas: dict[tuple[str, str], list[StateSeen]] = defaultdict(list)
        """By binding and request: the last event of each saga that answers it, once for each time."""
        for events in facts.events.values():
            last = events[-1]
            for request_id in last.request_ids:
                self.sagas[last.binding_id, request_id].append(events[0])
        self.letters = {letter.origin for letter in facts.history.letters if letter.origin is not None}
        # A letter in another partition than its origin's is that of the forwarded record.
        self.parked_there = {
            letter.origin
            for letter in facts.history.letters
            if letter.origin is not None and letter.origin.rsplit("/", 2)[1] == str(letter.partition)
        }
        # The letter of a record that could not be read is gone once a person has closed it.
        self.closed = {verdict.letter for verdict in facts.history.verdicts if verdict.applied}
        self.origins = {request.origin: request for request in facts.history.requests}
        self.forwards = Counter(
            request.forwarded_from
            for request in facts.history.requests
            if request.forwarded_from is not None and self._is_copy(request)
        )

    def _is_copy(self, request: RequestSeen) -> bool:
        """Tell whether a forward is of the record that it names: anyone can write the header."""
        first = self.origins.get(request.forwarded_from or "")
        return first is None or first.digest == request.digest

    def has(self, request: RequestSeen) -> bool:
        """Tell whether a saga answers the request, or a letter or a verdict names it."""
        return (
            (request.binding_id or "", request.request_id or "") in self.sagas
            or request.origin in self.letters
            or request.origin in self.closed
        )


def _passed_on(facts: Facts, accounts: _Accounts, request: RequestSeen) -> Iterator[Violation]:
    gone = request.origin in accounts.parked_there or request.origin in accounts.closed
    ways = accounts.forwards[request.origin] + gone
    due = facts.is_due(request)
    if ways > 1:
        yield broken(
            "request.forwarded_again",
            (request, *_copies(facts, request)),
            what=f"in the wrong partition, forwarded or parked {ways} times",
        )
    elif due and ways == 0 and facts.whole(Topic.REQUESTS, Topic.VERDICTS):
        yield broken("request.not_forwarded", (request,))
    elif due and ways == 0:
        facts.coverage.leave(
            _P1, "requests in the wrong partition: not passed on, or accounted for in what was not read"
        )
        return
    if due:
        facts.coverage.check(_P1, "requests in the wrong partition")
    else:
        facts.coverage.leave(_P1, "requests that were not taken yet")


def _copies(facts: Facts, request: RequestSeen) -> list[RequestSeen]:
    return [copy for copy in facts.history.requests if copy.forwarded_from == request.origin]


def _served_once(facts: Facts, accounts: _Accounts, same: list[RequestSeen]) -> Iterator[Violation]:
    """See that each request with this id, as far as they want different things, is served exactly once."""
    if not same:
        return
    first = same[0]
    served = accounts.sagas.get((first.binding_id or "", first.request_id or ""), [])
    identities: dict[object, list[RequestSeen]] = defaultdict(list)
    for request in same:
        # What cannot be read as a request is known by its bytes.
        identities[request.source, request.targets or request.digest].append(request)
    most = sum(_may_be_served(facts, records) for records in identities.values())
    if len(served) > most and facts.whole(Topic.REQUESTS):
        yield broken("request.served_again", (*same, *served), what="one request is served by several sagas")
    least = sum(all(facts.is_due(request) for request in records) for records in identities.values())
    parked = sum(request.origin in accounts.letters | accounts.closed for request in same)
    if 0 < len(served) < least - parked and facts.whole(Topic.STATES, Topic.VERDICTS):
        yield broken("request.overlooked", (*same, *served))


def _may_be_served(facts: Facts, records: list[RequestSeen]) -> int:
    """Return how often a request may be served that came so often: again only once it is forgotten."""
    limits = facts.history.limits
    times = 0
    since: RequestSeen | None = None
    for request in sorted(records, key=lambda each: place_of(each.origin)):
        if since is None or _forgotten(since, request, limits):
            times, since = times + 1, request
    return times


def _forgotten(first: RequestSeen, again: RequestSeen, limits: Limits) -> bool:
    if limits.remember_ms is not None and again.at - first.at > limits.remember_ms:
        return True
    between = place_of(again.origin)[1] - place_of(first.origin)[1]
    return limits.remember_requests is not None and between > limits.remember_requests
