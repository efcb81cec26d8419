"""Packets between processes and the far side: each takes a while, a dead sender's may be lost."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING, NoReturn, TypeVar

from tests.simulation.loop import PROCESS, Life

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

Value = TypeVar("Value")

SPINS_MOST = 3


class Network:
    """Carries questions to the far side and its answers back; all delays come from one seeded source."""

    def __init__(self, *, loop: asyncio.AbstractEventLoop, random: Random, delay_most: float = 0.02) -> None:
        self.loop = loop
        self.random = random
        self.slowness = 0.0
        """Seconds that a packet may take longer for now."""
        self._delay_most = delay_most

    async def ask(
        self, serve: Callable[[], Value], *, there: float | None = None, back: float | None = None
    ) -> Value:
        """Run `serve` on the far side and return or raise what it does.

        The far side does not know whether the sender still lives: a packet that has left arrives; if its
        sender is killed before, it is lost in half of the cases. Delays are in seconds, random if not given.
        """
        reply: asyncio.Future[Callable[[], Value]] = self.loop.create_future()
        sender = PROCESS.get()
        survives = self.random.random() < 0.5

        def arrive() -> None:
            if sender is not None and sender.life is Life.DEAD and not survives:
                return
            answer = _outcome(serve)
            self.outside(self.delay() if back is None else back, lambda: _settle(reply, answer))

        self.outside(self.delay() if there is None else there, arrive)
        return (await reply)()

    def outside(self, delay: float, callback: Callable[[], object]) -> None:
        """Run the callback after `delay` seconds as the world outside of all processes."""
        self.loop.call_later(delay, callback, context=Context())

    def delay(self) -> float:
        """Return the seconds that a packet takes; often none, so that steps interleave tightly."""
        if self.random.random() < 0.5:
            return 0.0
        return self.random.random() * (self._delay_most + self.slowness)

    async def breathe(self) -> None:
        """Let others go first for a few steps, as work in process does."""
        for _ in range(self.random.randrange(SPINS_MOST)):
            await asyncio.sleep(0)


def _outcome(serve: Callable[[], Value]) -> Callable[[], Value]:
    # An exception travels as a function that raises it: a future that nobody awaits must not complain.
    try:
        value = serve()
    except Exception as error:  # noqa: BLE001 - the sender's answer, whatever it is
        return _raiser(error)
    return lambda: value


def _raiser(error: Exception) -> Callable[[], NoReturn]:
    def fail() -> NoReturn:
        raise error

    return fail


def _settle(reply: asyncio.Future[Callable[[], Value]], answer: Callable[[], Value]) -> None:
    if not reply.done():
        reply.set_result(answer)
