"""Requests in the wrong partition: they are accounted for in another one, so all partitions are needed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from worker.verify.history import History, Topic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.oncall.verify_reading import Wish
    from worker.verify.history import JournalSeen, LetterSeen, RequestSeen, VerdictSeen


class Crossing:
    """Requests in the wrong partition, and all that may account for them, of all partitions."""

    def __init__(self) -> None:
        self.astray: list[RequestSeen] = []
        self.read_to: dict[int, int] = {}
        self.begun_before: set[Topic] = set()
        """Topics that were not read from their beginning, in any partition."""
        self._forwards: list[RequestSeen] = []
        self._letters: list[LetterSeen] = []
        self._verdicts: list[VerdictSeen] = []
        self._journals: list[JournalSeen] = []

    def take(self, history: History) -> None:
        """Take what crosses out of a partition's history."""
        astray = [request for request in history.requests if not request.partition_is_right]
        origins = {request.origin for request in astray}
        self.astray += astray
        self.take_forwards(history.requests)
        self._letters += [letter for letter in history.letters if letter.origin in origins]
        self._verdicts += [verdict for verdict in history.verdicts if verdict.letter in origins]
        for journal in history.journals:
            self._journals.append(
                replace(journal, sagas=(), letters=frozenset(), requests=frozenset(), problems=())
            )
        self.begun_before |= history.begun_before

    def take_forwards(self, requests: Sequence[RequestSeen]) -> None:
        """Take the requests that were forwarded."""
        self._forwards += [
            request
            for request in requests
            if request.partition_is_right and request.forwarded_from is not None
        ]

    def history(self, wish: Wish) -> History:
        """Return all of it."""
        return History(
            requests=(*self.astray, *self._forwards),
            letters=tuple(self._letters),
            verdicts=tuple(self._verdicts),
            journals=tuple(self._journals),
            at_rest=wish.at_rest,
            begun_before=frozenset(self.begun_before),
            ended_before=wish.until is not None,
        )
