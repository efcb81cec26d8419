"""Says which input was being handled when something of ours raised: it is parked, its neighbours are not.

HandlingFailed    our own handling of one input raised
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.ports import LogError
from worker.shard.journal import JournalUnreadable

if TYPE_CHECKING:
    from types import TracebackType


class HandlingFailed(Exception):
    """Our own handling of one input raised; ``key`` names the input: a record's origin, or a saga."""

    def __init__(self, key: str, error: Exception) -> None:
        super().__init__(f"handling {key} raised {type(error).__name__}")
        self.key = key
        self.error = error


_TOLD = (LogError, JournalUnreadable, HandlingFailed)


class Blame:
    """Names the input for whatever raises inside; who handles a part of it may have been more exact.

    A class and no generator: it stands around each input, and costs a third.
    """

    __slots__ = ("_key",)

    def __init__(self, key: str) -> None:
        self._key = key

    def __enter__(self) -> None:
        """Begin to handle the input."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Raise HandlingFailed for an error of ours."""
        if isinstance(error, Exception) and not isinstance(error, _TOLD):
            raise HandlingFailed(self._key, error) from error
