"""The hub: takes calls, makes attempts and quick tries under the limits, hands back results."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

import orjson
from tenacity import AsyncRetrying, RetryCallState, retry_if_result, stop_after_attempt

from worker.crash_points import pass_by
from worker.hub.answers import OwnCode
from worker.hub.errors import CallImpossible, CounterpartUnusable
from worker.hub.exchange import HeaderExchange
from worker.hub.limits import Limit, Pace, share_out
from worker.hub.reading import DECIDED, read
from worker.hub.transport import connect
from worker.ports import NotBegun
from worker.saga.results import ResultClass

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping

    import httpx

    from contracts.states import Step
    from worker.crash_points import Passing
    from worker.hub.answers import Answer
    from worker.hub.apis.api import Api, Request
    from worker.hub.counterparts import Counterpart
    from worker.ports import Observer
    from worker.saga.results import Call, Result

_FIRST_BACK_OFF_S: Final = 0.1
_LONGEST_BACK_OFF_S: Final = 1.0


class Exchange(Protocol):
    """One signature scheme's way to make an attempt."""

    async def attempt(self, body: bytes, gate: Callable[[], None]) -> Answer:
        """Send the message once, signed anew, and verify what comes back; the gate is passed last."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How a step's calls go: which API, through which exchange, under which limit."""

    api: Api
    line: str
    exchange: Exchange
    limit: Limit


class HttpHub:
    """Performs calls over HTTP (``worker.ports.Hub``). Made by ``open_hub``; used inside one event loop."""

    def __init__(
        self,
        *,
        routes: Mapping[Step, Route],
        chance: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        observer: Observer,
    ) -> None:
        """Take the routes; ``chance`` spreads the back-offs, ``sleep`` makes them."""
        self._routes = routes
        self._chance = chance
        self._sleep = sleep
        self._observer = observer

    def line(self, step: Step) -> str:
        """Name the line of this step, ``{counterpart}:{client id}``. Raises CallImpossible without one."""
        return self._route(step).line

    async def perform(self, call: Call, request: Request, gate: Callable[[], None]) -> Result:
        """Make the call's first attempt and its quick tries, and read the answer.

        Raises NotBegun if the gate refused the *first* attempt; a refusal later ends the tries with the
        result so far. Raises CallImpossible for a request that lacks what the message needs. Cancelled before
        the gate was passed, nothing has left; cancelled later, the call is undecided.
        """
        tries = _Tries(
            route=self._route(call.step), call=call, request=request, gate=gate, observer=self._observer
        )
        last = await tries.next()
        if call.quick and last.result_class is ResultClass.SOON:
            last = await self._quick_tries(tries, last, quick=call.quick)
        undecided = tries.undecided and not (last.verified and last.result_class in DECIDED)
        if tries.made == 1 and last.undecided is undecided:
            return last
        return replace(last, tries=tries.made, undecided=undecided)

    async def _quick_tries(self, tries: _Tries, first: Result, *, quick: int) -> Result:
        # Most calls never get here, and tenacity's machinery costs almost half the CPU of the HTTP: so it
        # takes over with the first attempt already made, as its own first.
        made = [first]

        async def attempt() -> Result:
            return made.pop() if made else await tries.next()

        retrying = AsyncRetrying(
            stop=stop_after_attempt(1 + quick),
            retry=retry_if_result(_is_soon),
            wait=self._back_off,
            sleep=self._sleep,
            retry_error_callback=_last_result,
        )
        try:
            return await retrying(attempt)
        except NotBegun:
            return tries.last

    def _back_off(self, state: RetryCallState) -> float:
        """Seconds before the next quick try: 0.1, 0.2, 0.4 … at most 1, times one half to one and a half."""
        planned = min(_FIRST_BACK_OFF_S * 2.0 ** (state.attempt_number - 1), _LONGEST_BACK_OFF_S)
        return planned * (0.5 + self._chance())

    def _route(self, step: Step) -> Route:
        route = self._routes.get(step)
        if route is None:
            raise CallImpossible(
                f"no counterpart is configured for step {step.value}: add its path to a counterpart, "
                "or take the step out of the profile"
            )
        return route


class _Tries:
    """The attempts of one call: the same bytes each time, and what is known so far."""

    __slots__ = ("_body", "_call", "_gate", "_observer", "_request", "_route", "last", "made", "undecided")

    last: Result

    def __init__(
        self,
        *,
        route: Route,
        call: Call,
        request: Request,
        gate: Callable[[], None],
        observer: Observer,
    ) -> None:
        self._observer = observer
        self._route = route
        self._call = call
        self._request = request
        self._gate = gate
        self._body = _body(route.api, call, request)
        self.made = 0
        self.undecided = False
        """One of these tries may have had its effect."""

    async def next(self) -> Result:
        route = self._route
        async with route.limit:
            answer = await route.exchange.attempt(self._body, self._gate)
        result = read(
            route.api,
            answer,
            request=self._request,
            undecided_before=self._call.undecided or self.undecided,
        )
        self.made += 1
        self.undecided = self.undecided or result.undecided
        self.last = result
        if result.result_class is ResultClass.SLOWLY:
            route.limit.slow_down()
        elif result.code == OwnCode.CONTRADICTORY_ANSWER:
            self._observer.log(
                "answer.doubted",
                saga_id=self._call.saga_id,
                step=self._call.step.value,
                line=route.line,
                status=answer.http_status,
                cause=result.message,
            )
        return result


@asynccontextmanager
async def open_hub(
    counterparts: Iterable[Counterpart],
    *,
    apis: Mapping[Step, Api],
    in_flight: int,
    clock: Callable[[], int],
    chance: Callable[[], float],
    observer: Observer,
    transport: Callable[[Counterpart], httpx.AsyncBaseTransport] = connect,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    passing: Passing = pass_by,
) -> AsyncIterator[HttpHub]:
    """Open the way to the counterparts, and close it at the end.

    ``apis`` says what is spoken at each step. ``in_flight`` is the process's limit over all counterparts,
    shared out. ``transport`` makes each one's transport: any httpx transport will do, but only a
    GatedTransport passes the gate after it has connected.
    Raises CounterpartUnusable for a step with two counterparts or without an API, and for what cannot work in
    any of them.
    """
    all_of_them = tuple(counterparts)
    places = share_out({each.name: each.in_flight for each in all_of_them}, in_flight=in_flight)
    now = asyncio.get_running_loop().time
    routes: dict[Step, Route] = {}
    async with AsyncExitStack() as opened:
        for counterpart in all_of_them:
            made = transport(counterpart)
            opened.push_async_callback(made.aclose)
            limit = Limit(
                in_flight=places[counterpart.name], pace=Pace(counterpart.rate, now=now, sleep=sleep)
            )
            for step in counterpart.paths:
                if step in routes:
                    raise CounterpartUnusable(
                        f"step {step.value} has two counterparts ({routes[step].line}, {counterpart.line}): "
                        "leave its path in one of them"
                    )
                if step not in apis:
                    raise CounterpartUnusable(
                        f"counterpart {counterpart.name}: no API is known here for step {step.value}: "
                        "take its path out (requests that need this step are then invalid)"
                    )
                routes[step] = Route(
                    api=apis[step],
                    line=counterpart.line,
                    exchange=HeaderExchange(
                        counterpart=counterpart, step=step, transport=made, clock=clock, passing=passing
                    ),
                    limit=limit,
                )
        yield HttpHub(routes=routes, chance=chance, sleep=sleep, observer=observer)


def _body(api: Api, call: Call, request: Request) -> bytes:
    """Write the message once per call: scalars as JSON strings, absent fields left out, never empty."""
    fields = api.fields(call, request)
    return orjson.dumps({name: content for name, content in fields.items() if content})


def _is_soon(result: Result) -> bool:
    return result.result_class is ResultClass.SOON


def _last_result(state: RetryCallState) -> Result:
    if state.outcome is None:
        raise RuntimeError("tenacity gave up before the first attempt")
    result: Result = state.outcome.result()
    return result
