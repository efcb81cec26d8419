"""`unbinding verify` on a cluster in memory: what it says, and when it keeps silent."""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from contracts.topics import LogicalTopic
from tests.oncall.cli_suite import json_lines
from tests.oncall.verify_worlds import (
    JOURNAL,
    REQUESTS,
    STATES,
    Scene,
    binding_of,
    sound_scene,
    token_of,
)
from tests.oncall.worlds import NOW_AT
from worker.oncall.verify_reading import Wish
from worker.oncall.verify_settling import verify
from worker.verify.calls import Call, fingerprint_of
from worker.verify.history import Limits
from worker.verify.reader import is_consulted
from worker.verify.violations import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from typer.testing import Result

    from worker.oncall.cluster import Span

pytestmark = pytest.mark.promise("P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8")

FIRST, SECOND = binding_of(0), binding_of(0, 1)


def kinds(result: Result) -> list[str]:
    """Return the kinds of the violations that were printed as JSON."""
    return [line["kind"] for line in json_lines(result.stdout) if "kind" in line]


def promise(result: Result, name: str) -> dict[str, Any]:
    """Return what was said of a promise."""
    (line,) = [line for line in json_lines(result.stdout) if line["promise"] == name and "result" in line]
    return line


def test_a_sound_cluster_is_proven() -> None:
    """Where nothing is broken the code is 0; each promise says how much was checked, or that nothing was."""
    scene = sound_scene()
    result = scene.world.run("verify", "--at-rest")
    assert result.exit_code == 0, result.output
    assert "no promise was found broken" in result.stderr
    rows = [line for line in result.stdout.splitlines() if line.startswith("│ P")]
    told = dict(row.split("│")[1:4:2] for row in rows)
    assert {name.strip() for name, result in told.items() if result.strip() == "kept"} == {
        *("P1", "P2", "P3", "P5", "P6", "P8")
    }
    assert {told[" P4 "].strip(), told[" P7 "].strip()} == {"not checked"}
    assert "3 requests" in result.stdout
    assert "nothing of it was read" in result.stdout
    assert promise(scene.world.run("verify", "--json"), "P8")["checked"] == {"records": 15, "tokens": 3}


def test_an_empty_cluster_proves_nothing() -> None:
    """Of empty topics no promise is called kept."""
    result = Scene().world.run("verify", "--json")
    assert result.exit_code == 0
    assert {line["result"] for line in json_lines(result.stdout)} == {"not checked"}


def test_a_violation_is_shown_with_its_records() -> None:
    """A violation names kind, place, time, binding, saga and state of its records; the code is 1."""
    scene = sound_scene()
    scene.ask(SECOND)
    scene.tell(SECOND, upto=2)
    scene.tell(SECOND, upto=4, sequence=4)
    scene.positions()
    result = scene.world.run("verify")
    assert result.exit_code == 1
    assert "P2 event.out_of_sequence: sequence 4 where 3 was due" in result.stdout
    assert (
        f"event=revoked place=binding.states/0/6 at=2025-03-01T03:32:20.000Z binding={SECOND}"
        in result.stdout
    )
    assert f"saga=saga-{SECOND}-0 sequence=4" in result.stdout
    assert "broken" in result.stdout


def test_a_garbled_event_is_a_violation() -> None:
    """A record among the states that is no event is shown by its place, and the others are checked on."""
    scene = sound_scene()
    scene.world.append(STATES, 1, key=b"x", value=b"{}")
    result = scene.world.run("verify", "--json")
    assert kinds(result) == ["event.unreadable"]
    assert promise(result, "P1")["result"] == "kept"


def test_lag_is_no_loss() -> None:
    """A request above the journal's position counts as not taken yet; below it, and at rest, it is lost."""
    scene = sound_scene()
    scene.ask(SECOND)
    live = scene.world.run("verify", "--json")
    assert (live.exit_code, kinds(live)) == (0, [])
    assert promise(live, "P1")["notChecked"] == {"requests that were not taken yet": 1}
    assert kinds(scene.world.run("verify", "--at-rest", "--json")) == ["request.lost"]
    scene.positions()
    assert kinds(scene.world.run("verify", "--json")) == ["request.lost"]


def test_a_saga_under_way_is_in_the_journal() -> None:
    """A saga that goes on is compared with the journal: gone from it, it is a violation."""
    scene = sound_scene()
    scene.ask(SECOND)
    scene.tell(SECOND, upto=2)
    scene.keep(SECOND, sequence=2)
    scene.positions()
    assert kinds(scene.world.run("verify", "--json")) == []
    assert kinds(scene.world.run("verify", "--at-rest", "--json")) == ["saga.unended"]
    scene.tell(SECOND, upto=3)
    assert kinds(scene.world.run("verify", "--json")) == ["journal.behind"]


def test_a_journal_that_cannot_be_read_is_a_violation() -> None:
    """A journal record of another format is told with its key."""
    scene = sound_scene()
    scene.journal(2, key="state:x", value=b'{"v":99}')
    result = scene.world.run("verify", "--json")
    assert kinds(result) == ["journal.unreadable"]
    assert "journal record state:x is of format 99" in result.stdout


def test_a_token_in_clear_is_found_and_not_repeated() -> None:
    """A token in a journal record, also of another partition, is told by the record's place alone."""
    scene = sound_scene()
    scene.journal(1, key="line:x", value=f'{{"code":"{token_of(FIRST)}"}}'.encode())
    result = scene.world.run("verify", "--json")
    assert kinds(result) == ["secret.in_clear"]
    assert "unbinding.journal/1/1" in result.stdout
    assert token_of(FIRST) not in result.output


def test_a_token_in_clear_is_found_among_too_many() -> None:
    """Where tokens are too many for all at once each partition's own are looked for, and that is told."""
    scene = sound_scene()
    scene.journal(0, key="line:x", value=token_of(FIRST).encode())
    report = asyncio.run(verify(scene.world.cluster, _wish(), elapsed=lambda: 0, together=1))
    assert [violation.kind for violation in report.violations] == ["secret.in_clear"]
    assert report.coverage.left_out["P8"] == {"tokens were looked for in their own partition only": 3}


def test_a_forward_is_found_in_its_partition() -> None:
    """A request in the wrong partition is accounted for by its forward in another; without it, it is lost."""
    scene = sound_scene()
    origin = scene.ask(SECOND, partition=2)
    scene.position(2)
    assert kinds(scene.world.run("verify", "--json")) == ["request.not_forwarded"]
    scene.forward(SECOND, origin)
    scene.tell(SECOND)
    scene.positions()
    assert kinds(scene.world.run("verify", "--json", "--at-rest")) == []
    partly = scene.world.run("verify", "--json", "--partition", "2")
    assert kinds(partly) == []
    assert promise(partly, "P1")["notChecked"] == {
        "requests in the wrong partition: not all partitions were read": 1
    }


# --- while workers go on ------------------------------------------------------------------


def _once(
    topic: LogicalTopic, partition: int, deed: Callable[[], object], *, time: int = 1
) -> Callable[[LogicalTopic, Span], None]:
    """Do something just before a stretch is read for the given time: its end was asked for already."""
    times = count(1)

    def looked(seen: LogicalTopic, span: Span) -> None:
        if seen is topic and span.partition == partition and next(times) == time:
            deed()

    return looked


@pytest.mark.fault("a transaction of which the first look sees one half")
def test_half_of_a_transaction_is_no_violation() -> None:
    """Where the journal's end was asked for before a transaction and the states' later, nothing is said."""
    scene = sound_scene()
    scene.ask(SECOND)
    scene.tell(SECOND, upto=1)
    scene.position(0)

    def rest() -> None:
        scene.keep(SECOND, sequence=1)

    scene.world.cluster.looked = _once(JOURNAL, 0, rest)
    result = scene.world.run("verify", "--json")
    assert (result.exit_code, kinds(result)) == (0, [])
    assert promise(result, "P1")["result"] == "kept"


def test_a_forward_seen_by_half_is_no_violation() -> None:
    """A forward written into a partition that was read already is found in the next look."""
    scene = sound_scene()
    origin = scene.ask(SECOND, partition=2)
    scene.position(2)
    scene.world.cluster.looked = _once(STATES, 1, partial(scene.forward, SECOND, origin))
    assert kinds(scene.world.run("verify", "--json")) == []


def test_what_stands_through_traffic_is_reported() -> None:
    """A violation stands although the journal's position and other sagas move between the looks."""
    scene = sound_scene()
    scene.ask(SECOND)
    scene.tell(SECOND, upto=1)
    scene.position(0)

    def more() -> None:
        scene.ask(binding_of(0, 2))
        scene.position(0, 1)

    scene.world.cluster.looked = _once(JOURNAL, 0, more)
    report = asyncio.run(verify(scene.world.cluster, _wish(), elapsed=lambda: 0, looks=2))
    assert [violation.kind for violation in report.violations] == ["journal.saga_missing"]
    assert report.unsettled == []


def test_what_moves_at_each_look_is_counted() -> None:
    """What looks wrong in another way at each look is not reported; it is told that nothing is said of it."""
    scene = sound_scene()
    scene.ask(SECOND)
    scene.tell(SECOND, upto=1)
    scene.position(0)
    steps = iter((2, 3))

    def looked(topic: LogicalTopic, span: Span) -> None:
        if topic is STATES and span.partition == 0:
            upto = next(steps, None)
            if upto is not None:
                scene.tell(SECOND, upto=upto)

    scene.world.cluster.looked = looked
    report = asyncio.run(verify(scene.world.cluster, _wish(), elapsed=lambda: 0, looks=2))
    assert (report.violations, len(report.unsettled)) == ([], 1)


def test_what_moves_at_each_look_proves_nothing() -> None:
    """Where something looks wrong in another way at each look the code is 3: not everything was checked."""
    scene = sound_scene()
    scene.ask(SECOND)
    scene.tell(SECOND, upto=1)
    scene.position(0)
    moved = iter(range(1, 99))

    def looked(topic: LogicalTopic, span: Span) -> None:
        if topic is STATES and span.partition == 0:
            number = next(moved)
            scene.tell(SECOND, number=number - 1)
            scene.ask(SECOND, number=number)
            scene.tell(SECOND, number=number, upto=1)
            scene.position(0)

    scene.world.cluster.looked = looked
    result = scene.world.run("verify", "--json")
    assert (result.exit_code, kinds(result)) == (3, [])
    assert promise(result, "P1")["notChecked"] == {"what looked wrong in another way at each look": 1}
    assert promise(result, "P1")["result"] == "not settled"
    assert "not everything could be checked" in result.stderr
    assert "no promise was found broken" not in result.stderr


# --- windows -------------------------------------------------------------------------------


def test_a_window_cuts_without_alarm() -> None:
    """A window leaves what is older or later out, says how many it could not judge, and is checked."""
    scene = Scene(at=NOW_AT - 7_200_000)
    scene.ask(FIRST)
    scene.tell(FIRST, upto=2)
    scene.at = NOW_AT - 60_000
    scene.tell(FIRST)
    scene.ask(FIRST)  # a repetition
    scene.ask(SECOND)
    scene.tell(SECOND)
    scene.positions()
    result = scene.world.run("verify", "--json", "--since", "1h")
    assert (result.exit_code, kinds(result)) == (0, [])
    assert promise(result, "P2")["notChecked"] == {
        "sagas that began before what was read: checked from there on": 1
    }
    assert promise(result, "P1")["checked"]["requests"] == 2
    earlier = scene.world.run("verify", "--json", "--until", "1h")
    assert (earlier.exit_code, kinds(earlier)) == (0, [])
    assert promise(earlier, "P2")["checked"] == {"sagas": 1, "events": 2}
    assert "journals" not in promise(earlier, "P1")["checked"]


def test_workers_with_slow_clocks_are_no_alarm() -> None:
    """A window takes in what workers wrote before it by their own clocks: some minutes do not matter."""
    scene = Scene(at=NOW_AT - 3_600_000)
    scene.ask(FIRST)
    scene.at -= 300_000
    scene.tell(FIRST)
    scene.positions()
    result = scene.world.run("verify", "--json", "--since", "1h")
    assert promise(result, "P1")["checked"]["requests"] == 1
    assert promise(result, "P2")["checked"]["events"] == 4


def test_retention_cuts_without_alarm() -> None:
    """Where retention has taken the head of the requests, events of older ones are no violation."""
    scene = sound_scene()
    scene.world.cluster.begins[REQUESTS, 0] = 1
    result = scene.world.run("verify", "--json", "--at-rest")
    assert (result.exit_code, kinds(result)) == (0, [])
    assert promise(result, "P3")["notChecked"]["revokes whose request was not read"] == 1


def test_retention_cuts_while_it_is_read_without_alarm() -> None:
    """What retention takes between the first look at the bounds and the reading counts as cut."""
    scene = sound_scene()
    cluster = scene.world.cluster

    def cut() -> None:
        cluster.begins[STATES, 0] = 4
        cluster.logs[STATES] = [record for record in cluster.logs[STATES] if record.partition != 0]

    cluster.looked = _once(REQUESTS, 0, cut, time=2)
    result = scene.world.run("verify", "--json", "--at-rest")
    assert (result.exit_code, kinds(result)) == (0, [])
    assert promise(result, "P1")["notChecked"] == {
        "requests without an event: lost, or repeated from before the window": 1
    }


def test_a_forward_that_retention_took_is_no_alarm() -> None:
    """Where the requests were cut, the copy of one in the wrong partition may lie in what is gone."""
    scene = sound_scene()
    origin = scene.ask(SECOND, partition=2)
    scene.forward(SECOND, origin)
    scene.tell(SECOND)
    scene.positions()
    scene.world.cluster.begins[REQUESTS, 0] = 2
    result = scene.world.run("verify", "--json", "--at-rest")
    assert (result.exit_code, kinds(result)) == (0, [])
    assert promise(result, "P1")["notChecked"] == {
        "requests in the wrong partition: not passed on, or accounted for in what was not read": 1
    }


def test_a_forward_that_retention_takes_between_looks_is_no_alarm() -> None:
    """What is gone before the forwards are looked for once more counts as cut."""
    scene = sound_scene()
    origin = scene.ask(SECOND, partition=2)
    scene.position(2)
    cluster = scene.world.cluster

    def forward_and_cut() -> None:
        scene.forward(SECOND, origin)
        copy = cluster.logs[REQUESTS][-1]
        scene.ask(FIRST)
        scene.ask(FIRST)
        cluster.logs[REQUESTS].remove(copy)
        cluster.begins[REQUESTS, 0] = copy.offset + 1

    cluster.looked = _once(REQUESTS, 2, forward_and_cut, time=2)
    result = scene.world.run("verify", "--json")
    assert (result.exit_code, kinds(result)) == (0, [])


def test_one_partition_alone() -> None:
    """With --partition the others are not read."""
    scene = sound_scene()
    scene.ask(SECOND)
    result = scene.world.run("verify", "--at-rest", "--json", "--partition", "1", "--partition", "2")
    assert (result.exit_code, kinds(result)) == (0, [])
    assert "of partitions 1, 2" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--since", "yesterday"), "--since must be a moment"),
        (("--until", "2026-13-01T00:00:00Z"), "--until must be a moment"),
        (("--since", "1h", "--until", "2h"), "--since must be before --until"),
        (("--partition", "3"), "--partition must be from 0 to 2"),
        (("--ledger", "ftp://here"), "--ledger must be the sandbox's base URL"),
    ],
)
def test_what_cannot_be_meant_is_usage(arguments: tuple[str, ...], says: str) -> None:
    """What cannot be meant ends with code 2 and says what would be right."""
    result = Scene().world.run("verify", *arguments)
    assert result.exit_code == 2
    assert says in result.stderr


def test_what_cannot_be_read_proves_nothing() -> None:
    """A missing topic, or a ledger that does not answer, ends with code 3: nothing is proven."""
    scene = sound_scene()
    scene.world.cluster.missing = {LogicalTopic.VERDICTS}
    result = scene.world.run("verify")
    assert result.exit_code == 3
    assert result.stderr.startswith("unbinding: nothing is proven: topic verdicts is missing")
    silent = sound_scene().world.run("verify", "--ledger", "http://127.0.0.1:9")
    assert silent.exit_code == 3
    assert "no ledger can be read at http://127.0.0.1:9" in silent.stderr


def test_the_kinds_are_listed() -> None:
    """--kinds lists each kind of violation with its promise and meaning, and reads no cluster."""
    world = Scene().world
    world.cluster.missing = set(LogicalTopic)
    result = world.run("verify", "--kinds", "--json")
    assert result.exit_code == 0
    assert {line["kind"]: line["promise"] for line in json_lines(result.stdout)} == {
        name: kind.promise for name, kind in KINDS.items()
    }
    assert "request.lost" in world.run("verify", "--kinds").stdout


def test_verifying_writes_nothing() -> None:
    """Nothing is published, whatever is found."""
    scene = sound_scene()
    scene.ask(SECOND)
    before = {topic: list(log) for topic, log in scene.world.cluster.logs.items()}
    scene.world.run("verify", "--at-rest")
    assert scene.world.cluster.logs == before


# --- the ledger ------------------------------------------------------------------------------


def _wish(*calls: Call) -> Wish:
    return Wish(limits=Limits(), consulted=is_consulted, calls=calls, call_ms=3_000)


def _call(token: str, **changes: Any) -> Call:
    at = NOW_AT - 60_000
    fields = {"number": 1, "step": "consult", "client_id": "w", "fingerprint": fingerprint_of(token)}
    return Call(**{**fields, "received_at": at, "ended": "answered", "ended_at": at + 60, **changes})


@pytest.mark.parametrize(
    ("call", "found"),
    [
        (_call(token_of(FIRST)), []),
        (_call(token_of(FIRST), step="cancel_token", received_at=NOW_AT), ["revoke.repeated"]),
        (_call(token_of(FIRST), received_at=NOW_AT - 61_000), ["call.unannounced"]),
        (_call("tok-of-nobody"), ["call.unexplained"]),
        (_call("tok-of-nobody", ended="client_left"), []),
    ],
    ids=["lawful", "after the revoke", "before the request", "of nobody", "taken up late"],
)
def test_calls_are_judged(call: Call, found: list[str]) -> None:
    """Calls of the ledger are judged by the events before them; one that no saga explains is a violation."""
    report = asyncio.run(verify(sound_scene().world.cluster, _wish(call), elapsed=lambda: 0))
    assert [violation.kind for violation in report.violations] == found
