"""The life of a shard: claim, position, lease, group commit, failures, kept memory, drain."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from contracts.states import Reason, Step
from contracts.topics import LogicalTopic, topic_name
from tests.shard.desk import DONE, FAILED, SILENCE, Desk, home, vault_of
from worker.ports import Input
from worker.sealing.key_ring import KeyRing
from worker.shard.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from contracts.requests import UnbindingRequested
    from worker.ports import Write

pytestmark = pytest.mark.promise("P1", "P2")

A, B, C = home("a"), home("b"), home("c")
REQUESTS = topic_name(LogicalTopic.REQUESTS)


def touches(writes: Sequence[Write], binding: str, topic: LogicalTopic = LogicalTopic.STATES) -> bool:
    """Tell whether a transaction tells of a binding."""
    return any(write.topic is topic and write.key == binding.encode() for write in writes)


# --- position ---------------------------------------------------------------


def test_a_first_start_writes_its_position_before_it_opens(desk: Desk) -> None:
    """Without position and group commit the shard begins at the logs' starts, and says so first."""

    async def story() -> None:
        desk.log.gate = asyncio.Event()
        desk.begin()
        await desk.rest()
        assert desk.shard.state == "claiming"
        assert desk.shard.position() is None
        desk.log.gate.set()
        await desk.until(lambda: desk.shard.state == "open")
        assert desk.journal() == {"position"}
        assert desk.position(Input.REQUESTS) == 0

    desk.play(story())


@pytest.mark.fault("the journal is lost")
def test_a_lost_journal_keeps_the_shard_closed(desk: Desk) -> None:
    """A group commit without a position means loss: the shard stays closed and says what to do."""

    async def story() -> None:
        desk.request(A)
        desk.cluster.commit_group(REQUESTS, 0, 1)
        desk.begin()
        await desk.until(desk.why)
        assert "--accept-loss 0" in desk.why()
        await desk.rest(60)
        assert desk.shard.state != "open"
        assert desk.told() == []

    desk.play(story())


@pytest.mark.fault("the journal is lost, and a person accepts it")
def test_accepted_loss_opens_the_shard_from_the_log_beginning() -> None:
    """A person may open a shard whose journal is lost: it takes what the log still has."""
    desk = Desk(accept_loss=True)

    async def story() -> None:
        desk.request(A)
        desk.cluster.commit_group(REQUESTS, 0, 1)
        await desk.open()
        await desk.until(lambda: "unbound" in desk.told())

    desk.play(story())


@pytest.mark.fault("records deleted, or a topic made anew, before they were taken")
@pytest.mark.parametrize("lost", ["deleted", "anew"])
def test_a_position_outside_the_log_is_an_alarm(desk: Desk, lost: str) -> None:
    """Records deleted before they were taken, or a topic made anew, keep the shard closed: never a jump."""

    async def story() -> None:
        await desk.open()
        desk.request(A)
        await desk.until(lambda: "unbound" in desk.told())
        await desk.shard.close()
        if lost == "deleted":
            desk.request(B)
            desk.request(B)
            desk.cluster.retain(REQUESTS, 0, start=2)
        else:
            part = desk.cluster._place((REQUESTS, 0))  # noqa: SLF001 - nothing deletes a topic there
            part.records, part.end = [], 0
        desk.hire()
        desk.begin()
        await desk.until(desk.why)
        assert "--accept-loss 0" in desk.why()
        assert desk.shard.state != "open"

    desk.play(story())


def test_a_missing_key_keeps_the_shard_closed_until_it_is_given_up(desk: Desk) -> None:
    """A key that is gone is named; given up, its sagas are parked and can only be discarded."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CANCEL_TOKEN] = [SILENCE] * 9
        for binding in (A, B):
            desk.request(binding)
        await desk.until(lambda: desk.told().count("waiting") == 2)
        await desk.shard.close()
        desk.vault = vault_of(sealing=KeyRing({"sealing-2": bytes(32)}, active="sealing-2"))
        desk.hire()
        desk.begin()
        await desk.until(desk.why)
        assert "sealing-1" in desk.why()
        await desk.shard.close()
        desk.options["given_up_keys"] = frozenset({"sealing-1"})
        desk.hire()
        await desk.open()
        await desk.until(lambda: len(desk.letters()) == 2)
        assert {letter.reason for letter in desk.letters().values()} == {Reason.CRASHED}
        assert desk.log.restores == 1
        first, second = sorted(desk.letters().items())
        desk.command(first[0], first[1].sequence)
        desk.command(second[0], second[1].sequence, discard=True)
        await desk.until(lambda: len(desk.verdicts()) == 2)
        assert [verdict["ruling"] for verdict in desk.verdicts()] == ["refused", "applied"]
        assert "sealing key is gone" in desk.verdicts()[0]["because"]

    desk.play(story())


# --- calls, commits, lease ----------------------------------------------------


def test_a_call_starts_only_after_its_decision_is_committed(desk: Desk) -> None:
    """While the transaction with the decision stands open nothing is called."""

    async def story() -> None:
        await desk.open()
        desk.log.gate = asyncio.Event()
        desk.request(A)
        await desk.rest(5)
        assert desk.hub.asked == []
        desk.log.gate.set()
        await desk.until(lambda: desk.hub.calls)

    desk.play(story())


def test_a_failed_commit_starts_no_call(desk: Desk) -> None:
    """A transaction that fails drops its decisions: the request is read again and called for once."""

    async def story() -> None:
        await desk.open()
        desk.log.interrupts = 1
        desk.request(A)
        await desk.until(lambda: "unbound" in desk.told())
        assert desk.hub.steps() == [Step.CONSULT, Step.CANCEL_TOKEN]
        assert desk.log.restores == 2

    desk.play(story())


def test_nothing_is_called_without_a_lease(desk: Desk) -> None:
    """Neither a first call nor a due timer begins an attempt before the lease lives."""

    async def story() -> None:
        await desk.open()
        desk.lease.lose()
        desk.request(A)
        await desk.rest(30)
        assert desk.hub.asked == []
        desk.lease.gain()
        desk.hub.answers[Step.CONSULT] = [SILENCE]
        await desk.until(lambda: "waiting" in desk.told())
        desk.lease.lose()
        await desk.rest(30)
        assert len(desk.hub.calls) == 1
        desk.lease.gain()
        await desk.until(lambda: "unbound" in desk.told())

    desk.play(story())


def test_a_lease_lost_in_line_is_seen_at_the_gate(desk: Desk) -> None:
    """A call that stood in line while the lease ran out is not begun, and is made when the lease is back."""

    async def story() -> None:
        await desk.open()
        desk.hub.queue = asyncio.Event()
        desk.request(A)
        await desk.until(lambda: desk.hub.asked)
        desk.lease.lose()
        desk.hub.queue.set()
        await desk.rest(30)
        assert desk.hub.calls == []
        desk.lease.gain()
        await desk.until(lambda: "unbound" in desk.told())

    desk.play(story())


def test_no_call_begins_once_the_shard_lets_go(desk: Desk) -> None:
    """A call that reaches its gate while the last transaction before a drain stands open is not begun."""

    async def story() -> None:
        await desk.open()
        desk.hub.queue = asyncio.Event()
        desk.request(A, "token-1")
        await desk.until(lambda: desk.hub.asked)
        desk.log.gate = asyncio.Event()
        desk.request(B, "token-2")
        await desk.rest()
        letting_go = asyncio.create_task(desk.shard.drain())
        await desk.rest()
        desk.hub.queue.set()
        await desk.rest()
        desk.log.gate.set()
        await letting_go
        assert desk.hub.calls == []

    desk.play(story())


def test_a_call_that_raises_parks_its_saga_only(desk: Desk) -> None:
    """A fault of ours in a call parks that saga as crashed without a restore; the others go on."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CONSULT] = [KeyError("ours")]
        desk.request(A)
        desk.request(B)
        await desk.until(lambda: "unbound" in desk.told())
        (letter,) = desk.letters().values()
        assert letter.reason is Reason.CRASHED
        assert desk.log.restores == 1

    desk.play(story())


def test_the_life_and_the_sizes_of_a_shard_are_measured(desk: Desk) -> None:
    """The metrics show where the shard is in its life, and what became of letters and commands."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CONSULT] = [FAILED]
        desk.request(A)
        await desk.until(desk.letters)
        await desk.rest(2)
        desk.request(B)
        await desk.until(lambda: "unbound" in desk.told())
        levels = desk.ear.levels
        assert levels["unbinding_shard_state", "open"] == 1
        assert levels["unbinding_shard_state", "claiming"] == 0
        assert levels["unbinding_letters_open", ""] == 1
        (key,) = desk.letters()
        desk.command(key, desk.letters()[key].sequence, discard=True)
        await desk.until(desk.verdicts)
        counts = desk.ear.counts
        assert counts["unbinding_letters", "failed"] == 1
        assert counts["unbinding_commands", "discard,applied"] == 1
        assert counts["unbinding_letters_resolved", ""] == 1
        assert counts["unbinding_transitions", "unbound"] == 1

    desk.play(story())


# --- failures -----------------------------------------------------------------


@pytest.mark.fault("the broker refuses one record")
def test_one_unwritable_record_among_many_is_parked_alone(desk: Desk) -> None:
    """A request that the broker refuses gets the smallest letter; its neighbours are committed."""

    async def story() -> None:
        desk.log.refuses = lambda writes: touches(writes, B)
        for binding in (A, B, C):
            desk.request(binding)
        await desk.open()
        await desk.until(lambda: desk.told().count("unbound") == 2)
        (letter,) = desk.letters().values()
        assert letter.reason is Reason.UNWRITABLE
        assert letter.origin.offset == 1
        assert letter.sealed_with is None

    desk.play(story())


@pytest.mark.fault("the broker refuses dead letters")
def test_a_letter_that_cannot_be_written_closes_the_shard_for_a_while(desk: Desk) -> None:
    """Where not even the letter can be written the shard says why, tries again later, and loses nothing."""

    async def story() -> None:
        desk.log.refuses = lambda writes: (
            touches(writes, B) or any(write.topic is LogicalTopic.DEAD_LETTERS for write in writes)
        )
        for binding in (A, B, C):
            desk.request(binding)
        desk.begin()
        await desk.until(lambda: "refuses" in desk.why())
        assert desk.shard.state == "closed"
        desk.log.refuses = lambda _: False
        await desk.until(lambda: desk.told().count("unbound") == 3)
        assert desk.letters() == {}

    desk.play(story())


@pytest.mark.fault("the broker refuses every record")
def test_a_topic_that_refuses_everything_parks_one_record_and_not_all(desk: Desk) -> None:
    """When every input is refused the shard closes and says why, instead of parking them one by one."""

    async def story() -> None:
        desk.log.refuses = lambda writes: any(write.topic is LogicalTopic.STATES for write in writes)
        for number in range(20):
            desk.request(home(f"binding-{number}"))
        desk.begin()
        await desk.until(lambda: "refuses" in desk.why())
        assert desk.shard.state == "closed"
        assert len(desk.letters()) == 1
        desk.log.refuses = lambda _: False
        await desk.until(lambda: desk.told().count("unbound") == 19)
        assert len(desk.letters()) == 1

    desk.play(story())


def test_a_record_whose_handling_raises_is_parked_as_crashed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault in our handling of one record parks it, with its value; its neighbours go on."""

    async def story() -> None:
        await desk.open()

        def fragile(_: object, request: UnbindingRequested) -> UnbindingRequested:
            if request.binding_id == B:
                raise RuntimeError("ours")
            return request

        monkeypatch.setattr(Vault, "clear_token", fragile)
        for binding in (A, B, C):
            desk.request(binding)
        await desk.until(lambda: desk.told().count("unbound") == 2)
        (letter,) = desk.letters().values()
        assert letter.reason is Reason.CRASHED
        assert letter.sealed_with == "sealing-1"
        assert desk.shard._culprits.named == {}  # noqa: SLF001 - it must not be held against a replay

    desk.play(story())


def test_a_queued_saga_that_breaks_is_blamed_itself(desk: Desk) -> None:
    """What raises at a queued saga's turn parks that one, not the saga whose end gave it the turn."""

    async def story() -> None:
        await desk.open()
        desk.hub.slow = asyncio.Event()
        desk.request(A, "token-1")
        desk.request(A, "token-2")
        await desk.until(lambda: desk.told().count("requested") == 2)
        broken = desk.memory.entries[desk.states()[-1]["sagaId"]]
        broken.sealed, broken.hot = None, None
        desk.hub.slow.set()
        await desk.until(desk.letters)
        (letter,) = desk.letters().values()
        assert letter.saga_id == broken.key
        assert desk.told().count("unbound") == 1
        assert desk.log.restores == 1

    desk.play(story())


def test_a_culprit_that_is_parked_already_is_let_be(desk: Desk) -> None:
    """A saga that is blamed while its letter stands is let be until its turn; the shard is not kept busy."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CONSULT] = [FAILED]
        desk.request(A)
        await desk.until(desk.letters)
        (key,) = desk.letters()
        desk.shard._culprits.named[key] = (Reason.CRASHED, "blamed")  # noqa: SLF001 - a fault of ours, made up
        desk.request(B)
        await desk.until(lambda: "unbound" in desk.told())
        assert not desk.shard._intake.has_work(now_at=desk.now())  # noqa: SLF001 - it must come to rest
        assert desk.letters()[key].reason is Reason.FAILED

    desk.play(story())


def test_a_fenced_shard_waits_for_a_fresh_lease(desk: Desk) -> None:
    """A shard whose producer was fenced claims again only as a proven member."""

    async def story() -> None:
        await desk.open()
        desk.lease.lose()
        desk.cluster.init_producer("unbinding-0")
        desk.request(A)
        await desk.until(lambda: desk.ear.heard("shard.fenced"))
        await desk.rest(60)
        assert desk.log.restores == 1
        desk.lease.gain()
        await desk.until(lambda: "unbound" in desk.told())

    desk.play(story())


def test_a_fenced_shard_lets_go_at_once(desk: Desk) -> None:
    """A fenced shard that waits for its lease does not hold up the rebalance."""

    async def story() -> None:
        await desk.open()
        desk.lease.lose()
        desk.cluster.init_producer("unbinding-0")
        desk.request(A)
        await desk.until(lambda: desk.ear.heard("shard.fenced"))
        began = desk.loop.time()
        await desk.shard.drain()
        assert desk.loop.time() - began < 1

    desk.play(story())


def test_a_large_backlog_goes_in_transactions_of_bounded_size() -> None:
    """Requests of many bytes are not put into one transaction that cannot end in time."""
    desk = Desk(unit_bytes=100_000)

    async def story() -> None:
        for number in range(20):
            desk.request(home(f"n{number}"), passThroughInfo="x" * 19_000)
        await desk.open()
        await desk.until(lambda: desk.told().count("unbound") == 20)
        sizes = [sum(len(write.value or b"") for write in writes) for writes in desk.log.commits]
        assert max(sizes) < 200_000

    desk.play(story())


def test_an_inbox_that_overflows_is_fed_again() -> None:
    """Notices that come faster than they are taken are dropped, and read again in order: none is lost."""
    desk = Desk(inbox=3, batch=1)

    async def story() -> None:
        desk.log.gate = asyncio.Event()
        desk.log.gate.set()
        await desk.open()
        desk.log.gate.clear()
        for number in range(40):
            desk.notice(bindingId=A, accessToken=f"token-{number}")
        await desk.rest(5)
        assert len(desk.shard._inflow.inbox[Input.NOTICES]) <= 6  # noqa: SLF001 - the bound is inside
        desk.log.gate.set()
        await desk.until(lambda: desk.position(Input.NOTICES) == 40)
        assert sum(key.startswith("dead:") for key in desk.journal()) == 40

    desk.play(story())


# --- caps ---------------------------------------------------------------------


@pytest.mark.parametrize("cap", [{"live_sagas": 5}, {"live_bytes": 6_000}])
def test_too_many_live_sagas_pause_the_partition(cap: dict[str, int]) -> None:
    """At the cap of sagas or bytes no more requests are taken; well below it they are again."""
    desk = Desk(inbox=2, **cap)

    async def story() -> None:
        await desk.open()
        desk.hub.slow = asyncio.Event()
        for number in range(40):
            desk.request(home(f"n{number}"))
        await desk.until(lambda: desk.ear.heard("shard.paused"))
        await desk.rest(5)
        assert desk.memory.live < 30
        desk.hub.slow.set()
        await desk.until(lambda: desk.told().count("unbound") == 40)
        assert desk.ear.heard("shard.resumed")
        assert desk.memory.live == 0
        assert desk.memory.live_bytes == 0

    desk.play(story())


# --- letting go ---------------------------------------------------------------


def test_results_that_come_during_the_drain_are_journaled(desk: Desk) -> None:
    """A call in flight ends within the drain, its result is committed, and the next one is not begun."""

    async def story() -> None:
        await desk.open()
        desk.hub.slow = asyncio.Event()
        desk.request(A)
        await desk.until(lambda: desk.hub.calls)
        draining = asyncio.ensure_future(desk.shard.drain())
        await desk.rest()
        desk.hub.slow.set()
        await draining
        assert desk.told() == ["requested", "allowed"]
        assert desk.hub.steps() == [Step.CONSULT]
        (entry,) = desk.restored().entries.values()
        assert entry.saga.phase == "due"
        assert entry.saga.attempted == frozenset()

    desk.play(story())


def test_a_clean_stop_shows_its_last_position(desk: Desk) -> None:
    """After a clean drain the position of the last commit is shown, for the group's commit at the end."""

    async def story() -> None:
        await desk.open()
        desk.hub.slow = asyncio.Event()
        desk.request(A)
        await desk.until(lambda: desk.hub.calls)
        await desk.shard.drain()
        assert desk.shard.state == "closed"
        assert desk.position(Input.REQUESTS) == 1
        desk.log.gate = asyncio.Event()
        desk.shard.start()
        assert desk.shard.position() is None
        desk.log.gate.set()
        await desk.until(lambda: desk.shard.state == "open")

    desk.play(story())


@pytest.mark.fault("a zombie: another worker fences the shard while it drains")
def test_a_fenced_drain_shows_no_position(desk: Desk) -> None:
    """A shard whose last commit failed while it let go shows no position: it may be another's by now."""

    async def story() -> None:
        await desk.open()
        desk.hub.slow = asyncio.Event()
        desk.request(A)
        await desk.until(lambda: desk.hub.calls)
        draining = asyncio.ensure_future(desk.shard.drain())
        await desk.rest()
        desk.cluster.init_producer("unbinding-0")
        desk.hub.slow.set()
        await draining
        assert desk.ear.heard("shard.fenced")
        assert desk.shard.position() is None

    desk.play(story())


def test_a_call_that_never_began_is_taken_back(desk: Desk) -> None:
    """A revoke call that was decided and not begun does not count as attempted after a clean stop."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CONSULT] = [DONE]
        desk.request(A)
        await desk.until(lambda: desk.hub.calls)
        desk.hub.queue = asyncio.Event()
        await desk.until(lambda: len(desk.hub.asked) == 2)
        await desk.shard.drain()
        (entry,) = desk.restored().entries.values()
        assert entry.saga.attempted == frozenset()
        assert desk.hub.steps() == [Step.CONSULT]

    desk.play(story())


def test_a_call_that_outlasts_the_drain_is_undecided(desk: Desk) -> None:
    """A revoke that is still on its way when the drain ends is called again as one in doubt."""

    async def story() -> None:
        await desk.open()
        desk.request(A)
        await desk.until(lambda: desk.hub.calls)
        desk.hub.slow = asyncio.Event()
        await desk.until(lambda: Step.CANCEL_TOKEN in desk.hub.steps())
        await desk.shard.drain()
        desk.hub.slow = None
        await desk.open()
        await desk.until(lambda: "unbound" in desk.told())
        assert desk.hub.calls[-1].undecided
        assert desk.hub.steps().count(Step.CONSULT) == 1

    desk.play(story())


def test_a_partition_that_comes_back_keeps_its_memory(desk: Desk) -> None:
    """Nobody else had the partition meanwhile: an ordinary transaction proves it, and nothing is restored."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CONSULT] = [SILENCE]
        desk.request(A)
        await desk.until(lambda: "waiting" in desk.told())
        await desk.shard.drain()
        await desk.open()
        assert desk.log.restores == 1
        assert desk.ear.heard("shard.kept")
        await desk.until(lambda: "unbound" in desk.told())

    desk.play(story())


def test_a_partition_that_was_elsewhere_is_restored(desk: Desk) -> None:
    """Another owner has written meanwhile: the kept memory is stale, fenced, and thrown away."""

    async def story() -> None:
        await desk.open()
        desk.request(A)
        await desk.until(lambda: "unbound" in desk.told())
        await desk.shard.drain()
        mine = desk.shard, desk.log, desk.feed
        desk.hire()
        await desk.open()
        desk.request(B)
        await desk.until(lambda: desk.told().count("unbound") == 2)
        await desk.shard.drain()
        desk.shard, desk.log, desk.feed = mine
        await desk.open()
        assert desk.log.restores == 2
        assert len(desk.memory.entries) == 2

    desk.play(story())


def test_a_start_during_the_drain_is_not_lost(desk: Desk) -> None:
    """A partition that comes back while the shard still lets go is served."""

    async def story() -> None:
        await desk.open()
        desk.hub.slow = asyncio.Event()
        desk.request(A)
        await desk.until(lambda: desk.hub.calls)
        draining = asyncio.ensure_future(desk.shard.drain())
        await desk.rest()
        desk.shard.start()
        desk.hub.slow.set()
        await draining
        await desk.until(lambda: "unbound" in desk.told())

    desk.play(story())


def test_keeping_memory_again_and_again_piles_nothing_up(desk: Desk) -> None:
    """Each return of the partition sets the timers anew instead of beside the old ones."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CANCEL_TOKEN] = [SILENCE]
        desk.request(A)
        await desk.until(lambda: "waiting" in desk.told())
        for _ in range(5):
            await desk.shard.drain()
            await desk.open()
        assert len(desk.memory._timers) == 1  # noqa: SLF001 - the pile is inside

    desk.play(story())


def test_a_clock_that_jumps_fires_the_timers_soon(desk: Desk) -> None:
    """A jump of the wall clock past a timer is noticed within a second or two."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CANCEL_TOKEN] = [SILENCE] * 4
        desk.request(A)
        await desk.until(lambda: desk.told().count("waiting") == 4)
        desk.jumped_ms += 3_600_000
        await desk.until(lambda: "unbound" in desk.told(), limit=3)

    desk.play(story())


def test_a_cancelled_call_of_which_bytes_left_is_undecided(desk: Desk) -> None:
    """A call that somebody cancels after it began is made again as one in doubt, not taken back."""

    async def story() -> None:
        await desk.open()
        desk.request(A)
        await desk.until(lambda: desk.hub.calls)
        desk.hub.slow = asyncio.Event()
        await desk.until(lambda: Step.CANCEL_TOKEN in desk.hub.steps())
        (under_way,) = desk.shard._calls.under_way  # noqa: SLF001 - who would cancel it is outside
        assert under_way.task is not None
        under_way.task.cancel()
        desk.hub.slow = None
        await desk.until(lambda: "unbound" in desk.told())
        assert desk.hub.calls[-1].undecided

    desk.play(story())
