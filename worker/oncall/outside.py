"""What a command is given of the world: environment, terminal, clocks, cluster; tests hand over their own."""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from worker.oncall.errors import CommandError
from worker.oncall.terminal import open_terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    import typer

    from worker.oncall.cluster import Cluster
    from worker.oncall.terminal import Terminal
    from worker.settings import Loaded, Settings

Value = TypeVar("Value")


class OpenCluster(Protocol):
    """Opens the cluster that the settings name."""

    def __call__(self, settings: Settings) -> AbstractAsyncContextManager[Cluster]:
        """Give the cluster for the length of a block."""
        ...


def _open_kafka(settings: Settings) -> AbstractAsyncContextManager[Cluster]:
    # Kafka's libraries take a second to load: a command that needs none does not wait for them.
    found: AbstractAsyncContextManager[Cluster] = importlib.import_module(
        "worker.oncall.kafka_cluster"
    ).open_cluster(settings)
    return found


def _read_stdin() -> bytes:
    if sys.stdin is None:
        raise CommandError("standard input is closed: give a file, or a pipe to read from")
    return sys.stdin.buffer.read()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """The world as a command sees it."""

    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    open_cluster: OpenCluster = _open_kafka
    terminal: Callable[[], Terminal] = open_terminal
    now: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    """The moment, in ms since the Unix epoch."""
    elapsed: Callable[[], int] = lambda: time.monotonic_ns() // 1_000_000
    """A clock that only goes forward, in ms."""
    read_stdin: Callable[[], bytes] = _read_stdin

    def load(self, config: Path | None) -> Loaded:
        """Read the settings. Raises `worker.settings.SettingsError`."""
        # The tree of settings takes a third of a second to build.
        load: Callable[..., Loaded] = importlib.import_module("worker.settings").load
        return load(environ=self.environ, config=config)


def outside_of(context: typer.Context) -> Outside:
    """Return the world that a command was started in: the process's own, if it was given none."""
    given = context.find_root().obj
    return given if isinstance(given, Outside) else Outside()


def run_to_end(work: Coroutine[Any, Any, Value]) -> Value:
    """Run a command's work on an event loop of its own; Ctrl-C cancels it and raises `KeyboardInterrupt`."""
    return asyncio.run(work)
