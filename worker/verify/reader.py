"""Reads the committed records of all topics, as any outsider sees them, into a history of plain data."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol

from contracts.topics import LogicalTopic, topic_name
from worker.verify.history import History, LetterSeen, StateSeen, Unreadable, VerdictSeen
from worker.verify.inputs import is_consulted, notice_of, request_of, targets_of
from worker.verify.records import (
    Committed,
    Memo,
    command_of,
    letter_of,
    state_of,
    verdict_of,
    written_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from contracts.requests import RebindingRequested, UnbindingRequested
    from worker.verify.history import Attempt, CommandSeen, NoticeSeen, RequestSeen, Written

__all__ = ["READ", "Committed", "Gathering", "Records", "is_consulted", "read_history", "targets_of"]

READ: Final = (
    LogicalTopic.REQUESTS,
    LogicalTopic.NOTICES,
    LogicalTopic.COMMANDS,
    LogicalTopic.STATES,
    LogicalTopic.DEAD_LETTERS,
    LogicalTopic.VERDICTS,
)
"""What a history is gathered from, the journal apart."""


class Records(Protocol):
    """All committed records of a cluster, compacted or not."""

    def archive(self, topic: str, partition: int) -> Sequence[Committed]:
        """Return the records of a partition, in order."""
        ...

    def written(self) -> Iterable[Committed]:
        """Return each record that the worker wrote itself."""
        ...


class Gathering:
    """Takes records in, in the order of each partition, and gives the history that they make."""

    def __init__(
        self,
        *,
        partitions: int,
        consulted: Callable[[UnbindingRequested | RebindingRequested], bool] = is_consulted,
    ) -> None:
        """`consulted` says whether a request needs permission, where the profile is not platform."""
        self._partitions = partitions
        self._consulted = consulted
        self._memo = Memo()
        self._requests: list[RequestSeen] = []
        self._states: list[StateSeen] = []
        self._letters: list[LetterSeen] = []
        self._commands: list[CommandSeen] = []
        self._verdicts: list[VerdictSeen] = []
        self._notices: list[NoticeSeen] = []
        self._unreadable: list[Unreadable] = []

    def take(self, topic: LogicalTopic, stored: Committed) -> None:
        """Take a record of a topic in; those of the journal and the holds say nothing here."""
        seen: StateSeen | LetterSeen | VerdictSeen | Unreadable
        match topic:
            case LogicalTopic.REQUESTS:
                self._requests.append(
                    request_of(
                        stored, partitions=self._partitions, memo=self._memo, consulted=self._consulted
                    )
                )
            case LogicalTopic.COMMANDS:
                self._commands.append(command_of(stored))
            case LogicalTopic.NOTICES:
                notice = notice_of(stored)
                if notice is not None:
                    self._notices.append(notice)
            case LogicalTopic.STATES:
                seen = state_of(stored, memo=self._memo)
                self._keep(seen)
            case LogicalTopic.DEAD_LETTERS:
                seen = letter_of(stored)
                self._keep(seen)
            case LogicalTopic.VERDICTS:
                seen = verdict_of(stored)
                self._keep(seen)
            case LogicalTopic.JOURNAL | LogicalTopic.HOLDS:
                pass

    def _keep(self, seen: StateSeen | LetterSeen | VerdictSeen | Unreadable) -> None:
        match seen:
            case StateSeen():
                self._states.append(seen)
            case LetterSeen():
                self._letters.append(seen)
            case VerdictSeen():
                self._verdicts.append(seen)
            case Unreadable():
                self._unreadable.append(seen)

    def history(self) -> History:
        """Return what was taken in so far."""
        return History(
            requests=tuple(self._requests),
            states=tuple(self._states),
            letters=tuple(self._letters),
            commands=tuple(self._commands),
            verdicts=tuple(self._verdicts),
            notices=tuple(self._notices),
            unreadable=tuple(self._unreadable),
        )


def read_history(
    records: Records,
    *,
    partitions: int,
    attempts: Iterable[Attempt] = (),
    secrets: Iterable[bytes] = (),
    at_rest: bool = True,
    with_bytes: bool = True,
) -> History:
    """Return what a read_committed reader has seen of all topics since the beginning, compacted or not."""
    gathering = Gathering(partitions=partitions)
    for topic in READ:
        for partition in range(partitions):
            for stored in records.archive(topic_name(topic), partition):
                gathering.take(topic, stored)
    return replace(
        gathering.history(),
        attempts=tuple(attempts),
        written=tuple(_written(records)) if with_bytes else (),
        secrets=frozenset(secrets),
        at_rest=at_rest,
        partitions=partitions,
    )


def _written(records: Records) -> Iterator[Written]:
    requests = topic_name(LogicalTopic.REQUESTS)
    for stored in records.written():
        # A rerouted request is the upstream's own bytes.
        if stored.transaction_number is not None and stored.topic != requests:
            yield written_of(stored)
