"""How a command ends other than well, and the one seam where errors of other rooms become a text and a code.

CommandError          exit code 1: the command could not do its work
├── UsageWrong        2: what was asked for cannot be meant
├── PartlyDone        3: some of it was done
├── Refused           4: nothing was changed, because a person or a guard said no
└── NothingMatched    5: nothing fits what was asked for
"""

from enum import IntEnum
from typing import ClassVar, Final


class ExitCode(IntEnum):
    """What the process says at its end."""

    DONE = 0
    ERROR = 1
    USAGE = 2
    PARTLY = 3
    REFUSED = 4
    NOTHING = 5
    INTERRUPTED = 130
    """As shells say after SIGINT."""


class CommandError(Exception):
    """A command could not do its work; the text says what, where, and what to do."""

    exit_code: ClassVar[ExitCode] = ExitCode.ERROR


class UsageWrong(CommandError):
    """What was asked for cannot be meant."""

    exit_code: ClassVar[ExitCode] = ExitCode.USAGE


class PartlyDone(CommandError):
    """Some of it was done; the text says what is left."""

    exit_code: ClassVar[ExitCode] = ExitCode.PARTLY


class Refused(CommandError):
    """Nothing was changed: a person, or a guard, said no."""

    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


class NothingMatched(CommandError):
    """Nothing fits what was asked for."""

    exit_code: ClassVar[ExitCode] = ExitCode.NOTHING


# By name: importing every room to name its errors would make each command as slow as all of them together.
FIT_TO_SHOW: Final = frozenset(
    {
        "contracts.wire.ContractError",
        "worker.hub.errors.CounterpartUnusable",
        "worker.kafka.membership.InstanceIdTaken",
        "worker.oncall.settings_view.KeysNotWritten",
        "worker.ports.LogError",
        "worker.sandbox.kafka_errors.SandboxKafkaError",
        "worker.sandbox.payment.errors.SandboxError",
        "worker.sealing.errors.KeyFileInvalid",
        "worker.settings.errors.SettingsError",
        "worker.signing.errors.KeyUnusable",
        "worker.signing.errors.SelfTestFailed",
        "worker.reach.SettingUnusable",
    }
)
"""Errors of other rooms whose text is written for people and holds no secret."""


def told(error: BaseException) -> tuple[str, ExitCode]:
    """Return what to say of an error, and the exit code.

    An error that nobody thought of is told by its kind alone: its text could quote anything.
    """
    if isinstance(error, CommandError):
        return str(error), error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", ExitCode.INTERRUPTED
    if isinstance(error, BrokenPipeError):
        # Whoever read our output has seen enough: no more to say, and nobody to hear it.
        return "", ExitCode.INTERRUPTED
    kinds = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}
    if kinds & FIT_TO_SHOW:
        return str(error), ExitCode.ERROR
    if isinstance(error, OSError) and error.strerror is not None:
        where = f"{error.filename}: " if error.filename is not None else ""
        return f"{where}{error.strerror}; check the name and the permissions", ExitCode.ERROR
    return (
        f"this should not happen ({type(error).__name__}): run it again as `unbinding --debug …` "
        "and report what it shows"
    ), ExitCode.ERROR
