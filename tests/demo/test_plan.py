"""The demo's plan: every kind of request, each with what has to become of it."""

from collections import Counter

import pytest

from contracts.cloudevents import UnreadableEvent, read_event
from contracts.requests import read_request
from contracts.states import ENDS, Reason, State, Step
from contracts.topics import partition_of
from contracts.wire import ContractError
from worker.oncall.demo.expectations import PARTITIONS, Act, Case
from worker.oncall.demo.plan import SLOW_EACH, make_plan
from worker.sandbox.payment.token_words import wish

PLAN = make_plan(now_at=1_800_000_000_000)
NAMES = [case.name for case in PLAN]


def test_names_tokens_and_requests_are_unique() -> None:
    """No two cases share a name, a token or a request id: each event belongs to one case."""
    assert len(set(NAMES)) == len(PLAN)
    assert len({case.token for case in PLAN}) == len(PLAN)
    ids = [request_id for case in PLAN for request_id in case.request_ids]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("case", PLAN, ids=NAMES)
def test_records_are_what_their_case_says(case: Case) -> None:
    """All records are valid requests, but for those of the two cases that show the opposite."""
    for record in case.published:
        try:
            read_request(read_event(record.message.value, record.message.headers))
            reason = None
        except UnreadableEvent:
            reason = Reason.UNREADABLE
        except ContractError:
            reason = Reason.INVALID
        wanted = case.expected.parked_for
        assert reason == (wanted if wanted in (Reason.UNREADABLE, Reason.INVALID) else None)


@pytest.mark.parametrize("case", PLAN, ids=NAMES)
def test_only_stray_records_lie_outside_their_partition(case: Case) -> None:
    """A record lies in the partition of its binding, unless its case shows the forwarding."""
    if case.binding_id is None:
        return
    home = partition_of(case.binding_id, PARTITIONS)
    assert {record.message.partition == home for record in case.published} == {not case.forwarded}


@pytest.mark.parametrize("case", PLAN, ids=NAMES)
def test_expectations_agree_with_themselves(case: Case) -> None:
    """A course ends in an end exactly if no letter stays open, and a dead token needs a cancelToken."""
    expected = case.expected
    ended = bool(expected.course) and expected.course[-1].state in ENDS
    assert ended is not expected.letter_open
    assert not expected.revoked or Step.CANCEL_TOKEN in expected.calls
    parked = any(stretch.state is State.PARKED for stretch in expected.course)
    assert parked is (expected.parked_for is not None) or not expected.course
    assert (case.order is None) is (expected.ruling is None)


@pytest.mark.parametrize("case", PLAN, ids=NAMES)
def test_the_sandbox_understands_every_token(case: Case) -> None:
    """Each token's words are known to the sandbox."""
    for step in (Step.CONSULT, Step.CANCEL_TOKEN):
        wish(case.token, step)


def test_the_kill_cuts_both_steps() -> None:
    """Several slow calls of each step are in flight when the worker is killed."""
    doomed = Counter(case.in_flight for case in PLAN if case.in_flight is not None)
    assert doomed == {Step.CONSULT: SLOW_EACH, Step.CANCEL_TOKEN: SLOW_EACH}


def test_all_partitions_take_part() -> None:
    """The bindings lie in all partitions."""
    assert {case.partition for case in PLAN} == set(range(PARTITIONS))


def test_what_shows_in_nothing_is_read_before_the_last_request() -> None:
    """The late repetition and the unreadable record lie before the last request, in its partition."""
    by_name = {case.name: case for case in PLAN}
    last = by_name["last"]
    assert last is PLAN[-1]
    assert by_name["again"].partition == by_name["unreadable"].partition == last.partition
    assert [record.act for record in by_name["again"].published][-1] is Act.CLOSING
