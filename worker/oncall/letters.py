"""The open dead letters: read whole, looked up by the start of their key, and what a command would do."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from contracts.commands import CommandKind
from contracts.dead_letters import InvalidLetter, LetterHeaders
from contracts.states import Reason, Step
from contracts.topics import TOPICS, LogicalTopic
from contracts.wire import clean_message
from worker.oncall.cluster import Cluster, Found
from worker.oncall.errors import NothingMatched, UsageWrong

REPLAYS_MOST: Final = 2
"""How often a letter is replayed without `--force` (contract, Commands)."""
_CANDIDATES_SHOWN: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """One open dead letter as it lies on its topic; its sealed value is measured and not kept."""

    key: str
    partition: int
    offset: int
    written_at: int
    sealed_bytes: int
    headers: LetterHeaders | None
    problem: str | None = None
    """Why the headers cannot be read, where they cannot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What a command would do to a letter, as far as the letter alone tells; the worker decides."""

    command: CommandKind
    lawful: bool
    """Whether it is refused for certain."""
    sentence: str


async def read_letters(
    cluster: Cluster, *, read: Callable[[int], None] = lambda _count: None
) -> list[Letter]:
    """Return the letters that are open as of now, the longest parked first; `read` hears of each batch."""
    found: dict[tuple[int, bytes], Found] = {}
    async for batch in cluster.read(LogicalTopic.DEAD_LETTERS):
        keep_latest(found, batch)
        read(len(batch))
    return sorted(map(letter_of, found.values()), key=lambda letter: (parked_at(letter), letter.key))


def keep_latest(found: dict[tuple[int, bytes], Found], batch: Iterable[Found]) -> None:
    """Take records in as compaction does: the last one of a key counts, a tombstone removes."""
    for record in batch:
        if record.key is None:
            continue
        if record.value is None:
            found.pop((record.partition, record.key), None)
        else:
            found[record.partition, record.key] = record


def letter_of(record: Found) -> Letter:
    """Return the letter that a record is; one whose headers cannot be read says why."""
    headers, problem = None, None
    try:
        headers = LetterHeaders.from_headers(record.headers)
    except InvalidLetter as error:
        problem = str(error)
    return Letter(
        key=clean_message((record.key or b"").decode(errors="replace")),
        partition=record.partition,
        offset=record.offset,
        written_at=record.timestamp_at,
        sealed_bytes=len(record.value or b""),
        headers=headers,
        problem=problem,
    )


def parked_at(letter: Letter) -> int:
    """Return when the letter was parked, in ms since the epoch; if it does not say, when it was written."""
    return letter.written_at if letter.headers is None else letter.headers.parked_at


def chosen(letters: Sequence[Letter], *, reason: Reason | None, step: Step | None) -> list[Letter]:
    """Return the letters with this reason and this step, where they are given."""
    return [
        letter
        for letter in letters
        if (reason is None or (letter.headers is not None and letter.headers.reason is reason))
        and (step is None or (letter.headers is not None and letter.headers.step is step))
    ]


def find(letters: Sequence[Letter], key: str) -> Letter:
    """Return the letter with this key, or the one whose key begins so.

    Raises `NothingMatched`, or `UsageWrong` where several begin so.
    """
    fitting = [letter for letter in letters if letter.key == key] or [
        letter for letter in letters if letter.key.startswith(key)
    ]
    if not fitting or not key:
        raise NothingMatched(
            f"no open dead letter has a key that begins with {key!r}: it was resolved, or look with "
            "`unbinding letters list`"
        )
    if len(fitting) > 1:
        names = ", ".join(letter.key for letter in fitting[:_CANDIDATES_SHOWN])
        more = len(fitting) - _CANDIDATES_SHOWN
        raise UsageWrong(
            f"{len(fitting)} keys begin with {key!r}: {names}{f' and {more} more' if more > 0 else ''}; "
            "give more of the key"
        )
    return fitting[0]


def outlooks(letter: Letter) -> tuple[Outlook, Outlook]:
    """Return what replay and discard would do to a letter."""
    headers = letter.headers
    if headers is None:
        return (
            _refused(CommandKind.REPLAY, f"the letter cannot be read: {letter.problem}"),
            _refused(CommandKind.DISCARD, f"the letter cannot be read: {letter.problem}"),
        )
    return _replay(headers), _discard(headers)


def _replay(headers: LetterHeaders) -> Outlook:
    again = " (only with --force)" if headers.replays >= REPLAYS_MOST else ""
    kind = CommandKind.REPLAY
    if headers.reason is Reason.EXPIRED:
        return _refused(kind, "refused: the user's time has passed; an expired letter can only be discarded")
    if is_notice(headers):
        return _refused(kind, "refused: it came as a notice; send the mended notice again, and discard this")
    if headers.saga_id is None or headers.reason is Reason.INVALID:
        gone = "" if headers.sealed_with is not None else " at its origin, if it still lies there"
        return Outlook(
            command=kind,
            lawful=True,
            sentence=f"reads the original anew{gone}: admits it, or parks it again{again}",
        )
    where = "its first step" if headers.step is None else str(headers.step)
    return Outlook(
        command=kind,
        lawful=True,
        sentence=(
            f"the saga goes on at {where} with the same idempotency keys{again}; --from start asks for "
            "permission again, where no revoke was attempted"
        ),
    )


def _discard(headers: LetterHeaders) -> Outlook:
    if headers.saga_id is None:
        sentence = "the letter goes; the record is never handled"
    else:
        sentence = (
            "the saga ends as discarded and makes no further step; "
            "debits stay blocked if a revoke was attempted"
        )
    return Outlook(command=CommandKind.DISCARD, lawful=True, sentence=sentence)


def is_notice(headers: LetterHeaders) -> bool:
    """Tell whether the letter's record came from the notices topic, whatever its prefix."""
    return headers.origin.topic.endswith(TOPICS[LogicalTopic.NOTICES].name)


def _refused(command: CommandKind, why: str) -> Outlook:
    return Outlook(command=command, lawful=False, sentence=why)
