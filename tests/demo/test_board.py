"""The demo's board: what is known of each case while it runs, and what is still waited for."""

from datetime import UTC, datetime

from contracts.commands import CommandKind, Ruling, VerdictRecorded
from contracts.dead_letters import LetterHeaders
from contracts.origins import Origin
from contracts.states import Reason
from tests.demo.right_history import PLAN, right_history, saga
from worker.oncall.cluster import Found
from worker.oncall.demo.board import Board, Progress
from worker.oncall.demo.view import standing


def _progress(board: Board, name: str) -> Progress:
    return next(progress for progress in board if progress.case.name == name)


def _play_states(board: Board, name: str) -> None:
    for seen in right_history().states:
        if seen.event.saga_id == saga(name):
            board.take_state(seen)


def _letter(name: str, *, reason: Reason, saga_id: str | None, open_: bool = True) -> Found:
    headers = LetterHeaders(
        reason=reason,
        sequence=3,
        origin=Origin("unbinding.requests", 0, 1),
        first_parked_at=1_000,
        parked_at=1_000,
        saga_id=saga_id,
        request_id=None if saga_id is None else f"req-{name}",
        original=(("ce_id", f"req-{name}".encode()),),
    )
    return Found(
        partition=0,
        offset=0,
        timestamp_at=1_000,
        key=headers.key.encode(),
        value=b"sealed" if open_ else None,
        headers=tuple(headers.to_headers()) if open_ else (),
    )


def _verdict(name: str) -> VerdictRecorded:
    return VerdictRecorded(
        letter=saga(name), ruling=Ruling.APPLIED, command=CommandKind.DISCARD, at=datetime.now(UTC)
    )


def test_an_ended_saga_is_settled() -> None:
    """A case is settled with the end of its saga, and not before its first event."""
    board = Board(PLAN)
    progress = _progress(board, "allowed")
    assert (progress.begun, progress.settled) == (False, False)
    _play_states(board, "allowed")
    assert (progress.begun, progress.settled) == (True, True)
    assert standing(progress) == "requested → allowed → revoked → unbound"


def test_an_ordered_case_waits_for_its_verdict() -> None:
    """A case with an order is settled by its end and its verdict together."""
    board = Board(PLAN)
    progress = _progress(board, "failed")
    board.take_letter(_letter("failed", reason=Reason.FAILED, saga_id=saga("failed")))
    assert progress.can_be_ordered
    assert [letter.key for letter in board.to_order(CommandKind.DISCARD)] == [saga("failed")]
    _play_states(board, "failed")
    board.take_letter(_letter("failed", reason=Reason.FAILED, saga_id=saga("failed"), open_=False))
    assert not progress.settled
    board.take_verdict(_verdict("failed"))
    assert progress.settled


def test_a_verdict_may_come_before_the_event_that_it_caused() -> None:
    """Topics are read side by side: a verdict finds its case by the letter alone."""
    board = Board(PLAN)
    board.take_letter(_letter("failed", reason=Reason.FAILED, saga_id=saga("failed")))
    assert board.take_verdict(_verdict("failed")) is _progress(board, "failed")


def test_an_unreadable_record_is_known_by_its_letter() -> None:
    """A record that never became a saga begins and settles with its letter."""
    board = Board(PLAN)
    progress = board.take_letter(_letter("unreadable", reason=Reason.UNREADABLE, saga_id=None))
    assert progress is _progress(board, "unreadable")
    assert progress.begun
    assert progress.settled
    assert standing(progress) == "[letter: unreadable]"


def test_what_belongs_to_nobody_is_left_to_the_judgement() -> None:
    """A letter of a request that the demo did not make belongs to no case."""
    board = Board(PLAN)
    assert board.take_letter(_letter("stranger", reason=Reason.FAILED, saga_id="x")) is None
    assert board.take_verdict(_verdict("stranger")) is None
