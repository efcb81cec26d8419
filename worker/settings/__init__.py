"""The settings: one tree of plain values, read once from a TOML file and the environment."""

from worker.settings.check import check
from worker.settings.counterparts import Counterpart
from worker.settings.errors import Problem, SettingsError
from worker.settings.findings import Finding, Severity
from worker.settings.load import Loaded, load
from worker.settings.readers import Readers
from worker.settings.show import Row, describe, example
from worker.settings.sources import Source
from worker.settings.tree import Settings, StepPatience
from worker.settings.words import CounterpartName, Edition, Hash, LogFormat, Profile, Scheme, counterpart_of

__all__ = [
    "Counterpart",
    "CounterpartName",
    "Edition",
    "Finding",
    "Hash",
    "Loaded",
    "LogFormat",
    "Problem",
    "Profile",
    "Readers",
    "Row",
    "Scheme",
    "Settings",
    "SettingsError",
    "Severity",
    "Source",
    "StepPatience",
    "check",
    "counterpart_of",
    "describe",
    "example",
    "load",
]
