"""Exceptions as text for a log: where and what kind, without local variables or foreign values."""

from pathlib import PurePath
from types import TracebackType
from typing import Final

from worker.telemetry.fields import clean_text

OWN_ROOMS: Final = ("worker", "contracts")
"""The packages whose messages are ours: they name things and never show a secret."""
FRAMES_MOST: Final = 12
DEPTH_MOST: Final = 4
GROUP_MOST: Final = 3


def describe_exception(error: BaseException) -> str:
    """Return one line: kinds, our own messages, frames as `file:line function`, innermost last.

    A message of a foreign exception may quote what was handled (a body, a key, a header), so only its
    kind is told; of an `OSError` its number, too.
    """
    return " ← ".join(_chain(error, depth=DEPTH_MOST, seen=set()))


def _chain(error: BaseException, *, depth: int, seen: set[int]) -> list[str]:
    if depth == 0 or id(error) in seen:
        return ["…"]
    seen.add(id(error))
    told = _one(error)
    if isinstance(error, BaseExceptionGroup):
        inner = [
            " ← ".join(_chain(each, depth=depth - 1, seen=seen)) for each in error.exceptions[:GROUP_MOST]
        ]
        told += f" ({len(error.exceptions)} in all: {'; '.join(inner)})"
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return [told] if cause is None else [told, *_chain(cause, depth=depth - 1, seen=seen)]


def _one(error: BaseException) -> str:
    kind = type(error)
    module = kind.__module__
    name = kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"
    frames = _frames(error.__traceback__)
    return f"{name}{_message(error, module)}{f' at {frames}' if frames else ''}"


def _message(error: BaseException, module: str) -> str:
    if module.partition(".")[0] in OWN_ROOMS and not isinstance(error, BaseExceptionGroup):
        return f": {clean_text(str(error))}"
    if isinstance(error, OSError) and isinstance(error.errno, int):
        # strerror can be any text where the exception was made by hand.
        return f": errno {error.errno}"
    return ""


def _frames(traceback: TracebackType | None) -> str:
    frames = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        path = PurePath(code.co_filename)
        frames.append(f"{path.parent.name}/{path.name}:{traceback.tb_lineno} {code.co_name}")
        traceback = traceback.tb_next
    if len(frames) > FRAMES_MOST:
        half = FRAMES_MOST // 2
        frames = [*frames[:half], "…", *frames[-half:]]
    return " > ".join(frames)
