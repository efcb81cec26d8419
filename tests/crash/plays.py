"""Plays one row of the matrix: the load, the death at the point, the successor, the judgement."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final

from tests.crash.doom import Sentence
from tests.crash.matrix import TOLD, Load, Row
from tests.faults.stage import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.crash.theatre import Case, Theatre

_PARKS: Final = "cancel-fail1"
UNANSWERED: Final = "cancel-done-hang1.cancel-F-INVALID_TOKEN"
"""The first cancelToken takes effect, unanswered; only who is in doubt takes the next one's no for a yes."""
_TWO_PARTITIONS: Final = frozenset({Load.ASTRAY, Load.BROADCAST})
"""What begins in another partition than the binding's."""


async def play(theatre: Theatre, row: Row) -> None:
    """Play a row, and see that calls and events are as they should be."""
    case = await _PLAYS[row.load](theatre, row)
    end = TOLD[row.load][-1]
    await case.reach(end)
    await theatre.judge()
    assert await case.told() == list(TOLD[row.load])
    assert await case.calls() == list(row.calls)
    assert (await case.letter() is not None) == (end == "parked")


def _sentence(case: Case, row: Row) -> Sentence:
    apart = row.elsewhere or row.load in _TWO_PARTITIONS
    return Sentence(point=row.point, nth=row.nth, partition=case.elsewhere if apart else case.partition)


async def _ready(theatre: Theatre, row: Row) -> None:
    """Have a worker that is sound until it is sentenced."""
    if theatre.worker is not None and theatre.listening is not row.listens:
        theatre.kill()
    if theatre.worker is None:
        theatre.hire(listen=row.listens)
    await theatre.stage.settled()


async def _dies(theatre: Theatre, row: Row) -> None:
    """Wait for the death, and hire the successor."""
    await theatre.death(row.point)
    theatre.hire(listen=row.listens)
    await theatre.stage.settled()


async def _request(theatre: Theatre, row: Row) -> Case:
    await _ready(theatre, row)
    words = {Load.WAIT: "consult-unknown2", Load.PARKING: "cancel-fail"}
    case = theatre.case(words.get(row.load, "allow"))
    theatre.sentence(_sentence(case, row))
    await case.request(partition=case.elsewhere if row.load is Load.ASTRAY else None)
    await _dies(theatre, row)
    return case


async def _parked(theatre: Theatre, row: Row) -> Case:
    await _ready(theatre, row)
    case = theatre.case(_PARKS)
    await case.request()
    await case.reach("parked")
    return case


async def _order(theatre: Theatre, row: Row) -> Case:
    case = await _parked(theatre, row)
    theatre.sentence(_sentence(case, row))
    if row.load is Load.EVIDENCE:
        await case.notice()
    else:
        await case.order(discard=row.load is Load.DISCARD, behind=int(row.load is Load.STALE))
    await _dies(theatre, row)
    return case


async def _rest(theatre: Theatre, row: Row) -> Case:
    case = await _parked(theatre, row)
    letter = await case.letter()
    theatre.sentence(_sentence(case, row))
    await _dies(theatre, row)
    assert await case.letter() == letter
    await case.order()
    return case


async def _notice(theatre: Theatre, row: Row) -> Case:
    await _ready(theatre, row)
    case = theatre.case("allow")
    before = await case.evidence()
    theatre.sentence(_sentence(case, row))
    await case.notice(binding=row.load is Load.NOTICE)
    await _dies(theatre, row)

    async def taken() -> bool:
        return len(await case.evidence()) > len(before)

    await until(taken, within_s=30, what="the binding's partition has taken the notice")
    await case.request()
    return case


async def _cancelling(theatre: Theatre, row: Row) -> Case:
    await _ready(theatre, row)
    case = theatre.case(UNANSWERED)
    await case.request()
    await case.called("consult", "cancel_token")
    theatre.kill()
    theatre.hire(_sentence(case, row), listen=row.listens)
    await _dies(theatre, row)
    return case


async def _first(theatre: Theatre, row: Row) -> Case:
    case = theatre.case("allow")
    await case.request()
    theatre.hire(_sentence(case, row))
    await _dies(theatre, row)
    return case


async def _ending(theatre: Theatre, row: Row) -> Case:
    await _ready(theatre, row)
    case = theatre.case("consult-slow1000")
    await case.request()
    await case.called("consult")
    theatre.sentence(_sentence(case, row))
    theatre.alive.child.signal(signal.SIGTERM)
    await _dies(theatre, row)
    return case


async def _moving(theatre: Theatre, row: Row) -> Case:
    case = await _parked(theatre, row)
    theatre.sentence(Sentence(point=row.point))
    other = theatre.stage.hire("a")
    await theatre.death(row.point)
    theatre.hire()
    await theatre.stage.settled()
    await case.order()
    await case.reach("unbound")
    await theatre.stage.terminate(other)
    await until(lambda: not other.child.running, within_s=10, what="the second worker has gone")
    await theatre.stage.settled()
    return case


_PLAYS: Final[dict[Load, Callable[[Theatre, Row], Awaitable[Case]]]] = {
    Load.REQUEST: _request,
    Load.WAIT: _request,
    Load.ASTRAY: _request,
    Load.PARKING: _request,
    Load.REPLAY: _order,
    Load.DISCARD: _order,
    Load.STALE: _order,
    Load.EVIDENCE: _order,
    Load.NOTICE: _notice,
    Load.BROADCAST: _notice,
    Load.PARKED: _rest,
    Load.CANCELLING: _cancelling,
    Load.FIRST: _first,
    Load.ENDING: _ending,
    Load.MOVING: _moving,
}
