"""An event loop with simulated time, and the processes whose tasks it runs, freezes or never runs again."""

from __future__ import annotations

import asyncio
from asyncio import Handle, TimerHandle
from collections import deque
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field
from enum import Enum
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

Arguments = TypeVarTuple("Arguments")
Value = TypeVar("Value")

STEPS_MOST = 2_000_000


class Deadlock(Exception):
    """Nothing is ready and no timer runs, yet the main task is not done; the text lists who waits where."""


class Livelock(Exception):
    """More steps were run than any scenario needs: something spins."""


class Life(Enum):
    """What the loop does with the tasks of a process."""

    RUNS = "runs"
    FROZEN = "frozen"
    """Its steps are kept until it is thawed, as after SIGSTOP."""
    DEAD = "dead"
    """Its steps are dropped, clean-up too, as after SIGKILL."""


@dataclass(eq=False, slots=True)
class Process:
    """Tasks that live, freeze and die together: those that were made in its context."""

    name: str
    life: Life = Life.RUNS
    kept: list[Handle] = field(default_factory=list)
    """Steps that fell due while it was frozen, in order."""


PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)
"""The process that the running step belongs to; none: the world outside of all processes."""


class SimTask(asyncio.Task[Value]):
    """A task whose hash is its number, so that sets of tasks have the same order in each run."""

    def __init__(self, coro: Coroutine[Any, Any, Value], *, number: int, **options: Any) -> None:
        self.number = number
        super().__init__(coro, **options)

    @override
    def __hash__(self) -> int:
        return self.number


class SimFuture(asyncio.Future[Value]):
    """A future whose hash is its number."""

    def __init__(self, *, number: int, loop: asyncio.AbstractEventLoop) -> None:
        self.number = number
        super().__init__(loop=loop)

    @override
    def __hash__(self) -> int:
        return self.number


class _Soon(Handle):
    """A step that is ready."""

    def run(self) -> None:
        self._run()


class _Later(TimerHandle):
    """A step that is ready at a moment."""

    def run(self) -> None:
        self._run()


class SimLoop(asyncio.BaseEventLoop):
    """One thread, no sockets; when nothing is ready, time jumps to the next timer.

    Ready steps run in the order in which they were scheduled, as asyncio promises. The order of timers that
    fall due at the same moment is open in asyncio: `ties` (numbers from 0 up to 1) shuffles them. All other
    interleavings come from delays that the simulated ports put in.
    """

    def __init__(self, *, ties: Callable[[], float] | None = None) -> None:
        super().__init__()
        self.steps = 0
        """Steps run so far."""
        self.before_step: Callable[[int], None] | None = None
        """Called with the number of each step before it runs; may kill or freeze a process."""
        self.complaints: list[str] = []
        """What nobody caught: exceptions in callbacks and in tasks that nobody awaits."""
        self.moments: list[tuple[int, float]] = [(0, 0.0)]
        """From which step on it was how late, in simulated seconds."""
        self._ties = ties
        self._now = 0.0
        self._soon: deque[tuple[Process | None, _Soon | _Later]] = deque()
        self._timers: list[tuple[float, float, int, Process | None, _Later]] = []
        self._numbers = 0
        self._tasks: dict[int, tuple[Process | None, SimTask[Any]]] = {}

    @override
    def time(self) -> float:
        """Return the simulated seconds since the loop was made."""
        return self._now

    @override
    def call_soon(
        self,
        callback: Callable[[*Arguments], object],
        *args: *Arguments,
        context: Context | None = None,
    ) -> Handle:
        """Run the callback after all that is ready now."""
        context = copy_context() if context is None else context
        handle = _Soon(callback, args, self, context)
        self._soon.append((context.get(PROCESS), handle))
        return handle

    @override
    def call_soon_threadsafe(
        self,
        callback: Callable[[*Arguments], object],
        *args: *Arguments,
        context: Context | None = None,
    ) -> Handle:
        """Do the same as `call_soon`: there is one thread."""
        return self.call_soon(callback, *args, context=context)

    @override
    def call_at(
        self,
        when: float,
        callback: Callable[[*Arguments], object],
        *args: *Arguments,
        context: Context | None = None,
    ) -> TimerHandle:
        """Run the callback when simulated time has come to `when` seconds."""
        context = copy_context() if context is None else context
        timer = _Later(when, callback, args, self, context)
        tie = 0.0 if self._ties is None else self._ties()
        heappush(self._timers, (when, tie, self._number(), context.get(PROCESS), timer))
        return timer

    @override
    def create_future(self) -> asyncio.Future[Any]:
        """Return a future with a hash that is the same in each run."""
        return SimFuture(number=self._number(), loop=self)

    @override
    def create_task(
        self,
        coro: Coroutine[Any, Any, Value] | Generator[Any, None, Value],
        *,
        name: object = None,
        context: Context | None = None,
    ) -> asyncio.Task[Value]:
        """Return a task of the process in whose context it is made; it is kept alive until it is done."""
        context = copy_context() if context is None else context
        number = self._number()
        task: SimTask[Value] = SimTask(
            coro,  # type: ignore[arg-type]  # old generator coroutines are in asyncio's signature only
            number=number,
            loop=self,
            name=f"task {number}" if name is None else str(name),
            context=context,
        )
        self._tasks[number] = (context.get(PROCESS), task)
        return task

    def spawn(
        self, process: Process | None, coro: Coroutine[Any, Any, Value], *, name: str
    ) -> asyncio.Task[Value]:
        """Start a task that belongs to the process, whoever calls."""
        context = Context()
        context.run(PROCESS.set, process)
        return self.create_task(coro, name=name, context=context)

    def freeze(self, process: Process) -> None:
        """Let the tasks of the process make no step until it is thawed."""
        if process.life is Life.RUNS:
            process.life = Life.FROZEN

    def thaw(self, process: Process) -> None:
        """Let a frozen process go on with all that fell due meanwhile."""
        if process.life is Life.FROZEN:
            process.life = Life.RUNS
            for handle in process.kept:
                if isinstance(handle, _Soon | _Later):
                    self._soon.append((process, handle))
            process.kept.clear()

    def kill(self, process: Process) -> None:
        """Let the tasks of the process never run again, not even to clean up."""
        process.life = Life.DEAD
        process.kept.clear()

    def tasks_of(self, process: Process) -> list[asyncio.Task[Any]]:
        """Return the tasks of a process that are not done."""
        return [task for owner, task in self._tasks.values() if owner is process and not task.done()]

    def bury(self) -> None:
        """Close what is left of all tasks, so that nothing complains about them later; call it last."""
        for process in {process for process, _ in self._tasks.values() if process is not None}:
            process.life = Life.DEAD
        for _, task in self._tasks.values():
            coroutine = task.get_coro()
            if not task.done() and coroutine is not None:
                # Pending at the end is the normal state of a killed process: no warning.
                task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - its switch
                try:
                    coroutine.close()
                except (RuntimeError, asyncio.CancelledError):
                    # Clean-up that awaits or raises: a dead process has none, so it does not count.
                    continue
        self._tasks.clear()

    @override
    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what nobody caught as a complaint; a dead process complains about nothing."""
        subject = context.get("task", context.get("future"))
        number = getattr(subject, "number", None)
        process = self._tasks.get(number, (None, None))[0] if isinstance(number, int) else None
        if process is None or process.life is not Life.DEAD:
            self.complaints.append(f"{context.get('message')}: {context.get('exception')!r} {subject!r}")

    def waiting(self) -> str:
        """Say which tasks wait, and where: one line each."""
        lines = []
        for process, task in self._tasks.values():
            if not task.done() and (process is None or process.life is not Life.DEAD):
                owner = "outside" if process is None else f"{process.name} ({process.life.value})"
                lines.append(f"  {owner}: {task.get_name()} at {_where(task)}")
        return "\n".join(lines)

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _run_once(self) -> None:
        # The one method of asyncio's loop that decides what runs next; run_forever() repeats it.
        process, handle = self._next()
        if handle.cancelled() or self._kept_back(process, handle):
            return
        self.steps += 1
        if self.steps > STEPS_MOST:
            raise Livelock(f"more than {STEPS_MOST} steps; waiting:\n{self.waiting()}")
        if self.before_step is not None:
            self.before_step(self.steps)
            if self._kept_back(process, handle):
                return
        handle.run()
        if self.steps % 1000 == 0:
            self._tasks = {number: entry for number, entry in self._tasks.items() if not entry[1].done()}

    def _next(self) -> tuple[Process | None, _Soon | _Later]:
        if self._soon:
            return self._soon.popleft()
        while self._timers:
            when, _, _, process, timer = heappop(self._timers)
            if not timer.cancelled():
                if when > self._now:
                    self._now = when
                    self.moments.append((self.steps + 1, when))
                return process, timer
        raise Deadlock(f"nothing is ready and no timer runs; waiting:\n{self.waiting()}")

    @staticmethod
    def _kept_back(process: Process | None, handle: Handle) -> bool:
        if process is None or process.life is Life.RUNS:
            return False
        if process.life is Life.FROZEN:
            process.kept.append(handle)
        return True


def run(loop: SimLoop, main: Coroutine[Any, Any, Value]) -> Value:
    """Run `main` to its end on the loop, and bury what is left.

    Raises Deadlock, Livelock, or what `main` raises.
    """
    try:
        return loop.run_until_complete(main)
    finally:
        loop.bury()
        loop.close()


def _where(task: asyncio.Task[Any]) -> str:
    inner: Any = task.get_coro()
    place = "its start"
    while inner is not None:
        frame = getattr(inner, "cr_frame", None) or getattr(inner, "ag_frame", None)
        if frame is not None:
            place = f"{frame.f_code.co_qualname} line {frame.f_lineno}"
        inner = getattr(inner, "cr_await", None) or getattr(inner, "ag_await", None)
    return place
