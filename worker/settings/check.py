"""Checks that need more than one leaf, or the files that leaves name: to tell now what would fail later."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from contracts.states import Step
from worker.settings.check_counterparts import counterpart
from worker.settings.check_files import open_to_all
from worker.settings.check_kafka import kafka_section
from worker.settings.check_keys import key_rings, operator_keys
from worker.settings.findings import Finding, Severity, error, warning
from worker.settings.load import Loaded
from worker.settings.outline import leaves
from worker.settings.readers import Readers
from worker.settings.sources import Source
from worker.settings.tree import Patience, Settings
from worker.settings.units import format_duration
from worker.settings.words import CounterpartName, counterpart_of

PRODUCTION_REPLICATION: Final = 3


def check(loaded: Loaded, *, steps: Sequence[Step], readers: Readers) -> tuple[Finding, ...]:
    """Return what is wrong or doubtful, errors first.

    `steps` are those of the settings' profile, configured or not.
    """
    settings = loaded.settings
    found = [
        *_steps(settings, steps),
        *(
            finding
            for name in CounterpartName
            for finding in counterpart(loaded, name, steps=_callers(settings, name, steps), readers=readers)
        ),
        *operator_keys(settings),
        *key_rings(settings, readers.ring_ids),
        *_patience(settings.patience),
        *kafka_section(settings.kafka, readers.secret),
        *_defaults(loaded),
        *_secrets(loaded),
    ]
    placed = (replace(finding, origin=_origin(loaded, finding)) for finding in found)
    return tuple(sorted(placed, key=lambda finding: finding.severity is not Severity.ERROR))


def _origin(loaded: Loaded, finding: Finding) -> str | None:
    """Return where the leaf that a finding is about was given; a name in brackets is inside of the leaf."""
    given = loaded.given.get(finding.name.partition("[")[0])
    return None if given is None else given.origin


def _callers(settings: Settings, name: CounterpartName, steps: Sequence[Step]) -> tuple[Step, ...]:
    """Return the steps that are on and call this counterpart."""
    mine = (step for step in steps if counterpart_of(step, profile=settings.profile) is name)
    off = _off(settings)
    return tuple(step for step in mine if step not in off)


def _off(settings: Settings) -> set[Step]:
    switches = {Step.CONSULT: settings.steps.consult, Step.NOTIFY_HUB: settings.steps.notify_hub}
    return {step for step, switch in switches.items() if switch == "off"}


def _steps(settings: Settings, steps: Sequence[Step]) -> Iterator[Finding]:
    missing = {
        step: name
        for step in steps
        if settings.counterparts.get(name := counterpart_of(step, profile=settings.profile)) is None
    }
    off = _off(settings)
    if not set(steps) - set(missing) - off:
        yield error(
            "profile",
            f"{settings.profile} has no step that can run",
            "configure at least one of: "
            + ", ".join(
                sorted({f"counterparts.{counterpart_of(s, profile=settings.profile)}" for s in steps})
            ),
        )
        return
    for step, name in missing.items():
        if step in off:
            continue
        what = f"step {step} of profile {settings.profile} never runs: its counterpart is left out"
        if step is Step.CONSULT and Step.CANCEL_TOKEN not in missing:
            what += "; tokens are revoked without asking whether they may be"
        yield warning(f"counterparts.{name}", what, "configure it, or leave it if that is meant")


def _patience(patience: Patience) -> Iterator[Finding]:
    for step in Step:
        mine = patience.of(step)
        name = f"patience.{step}"
        if mine.waits_ms[0] >= mine.give_up_after_ms:
            first = format_duration(mine.waits_ms[0])
            what = f"is not longer than the first wait ({first}): nothing is repeated"
            yield error(f"{name}.give_up_after", what, "raise it, or shorten the first wait")
            continue
        before = 0
        for place, wait_ms in enumerate(mine.waits_ms):
            if before + wait_ms > mine.give_up_after_ms:
                what = (
                    f"has a wait that is never reached: number {place + 1} of {len(mine.waits_ms)} would end "
                    f"{format_duration(before + wait_ms)} after the first attempt, beyond give_up_after"
                )
                yield warning(f"{name}.waits", what, "raise give_up_after, or shorten the list")
                break
            before += wait_ms


def _defaults(loaded: Loaded) -> Iterator[Finding]:
    if loaded.source("kafka.bootstrap_servers") is Source.DEFAULT:
        what = "is not set: the worker looks for Kafka on this machine"
        yield warning("kafka.bootstrap_servers", what, "set it")
    if loaded.settings.topics.replication < PRODUCTION_REPLICATION:
        what = f"is below {PRODUCTION_REPLICATION}: a lost broker loses data or stops all writes"
        yield warning("topics.replication", what, f"use {PRODUCTION_REPLICATION} outside of tests")


def _secrets(loaded: Loaded) -> Iterator[Finding]:
    """Warn of secrets in a settings file that others may read."""
    inside = [name for name, leaf in leaves().items() if leaf.secret and loaded.source(name) is Source.FILE]
    if loaded.config is not None:
        for name in inside:
            yield from open_to_all(name, loaded.config)
