"""The composition root: turns settings into the parts of a worker, and runs them until a signal says stop."""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import uvloop

from contracts.states import Step
from contracts.topics import LogicalTopic
from worker import __version__
from worker.crash_points import pass_all_by
from worker.hub.catalogue import apis_of
from worker.hub.client import open_hub
from worker.hub.counterparts import Counterpart
from worker.hub.errors import CounterpartUnusable
from worker.kafka.app import WorkerApp
from worker.kafka.holds import HoldsFollower
from worker.kafka.pump import Pump, PumpSettings
from worker.kafka.reader import Reader
from worker.kafka.shard_log import LogSettings
from worker.ports import Input
from worker.reach import SettingUnusable, connection_of, read_file, read_secret, topic_names
from worker.saga.patience import Patience, Rules
from worker.saga.plan import EDITIONS, PROFILE_STEPS, Edition, Profile, ProfileName
from worker.sealing import Fingerprints, KeyFileInvalid, Purpose, Sealer, read_key_file
from worker.settings import CounterpartName, counterpart_of
from worker.shard.driver import Surroundings
from worker.shard.pace import Linger
from worker.shard.remember import Remembering
from worker.shard.shard import Shard, ShardOptions
from worker.shard.vault import Vault
from worker.signing import KeyUnusable, PublicKeys, load_signer, load_verifier, self_test
from worker.telemetry import Metric, Metrics, Observer, capture_crashes, capture_libraries, make_logger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from prometheus_client import CollectorRegistry

    from worker.crash_points import PassingIn
    from worker.hub.client import HttpHub
    from worker.ports import Feed, Hub, Lease, Log
    from worker.ports import Observer as Events
    from worker.sealing import KeyRing
    from worker.settings import Counterpart as CounterpartSettings
    from worker.settings import Settings


def now_ms() -> int:
    """Return the machine's time in ms since the Unix epoch: the clock of sagas, events and signatures.

    It may jump. A step is never called before its time by the clock of the process that calls: set back, it
    delays what waits by as much as it was set back; set forward, it counts as time that has passed, for
    patience and ``expiresAt`` too. What must not jump (leases, sessions, limits, time-outs of calls) has
    monotonic clocks of its own.
    """
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class StartOptions:
    """What a person decides for one start only."""

    accept_loss: frozenset[int] = frozenset()
    """Partitions that open although the log or the journal has lost something."""
    give_up_keys: frozenset[str] = frozenset()
    """Sealing or fingerprint keys that are gone for good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What all shards of a worker share."""

    hub: Hub
    vault: Vault
    profile: Profile
    surroundings: Surroundings
    clock: Callable[[], int]
    observer: Events
    linger: Linger
    passing_in: PassingIn


def run(
    settings: Settings,
    *,
    options: StartOptions | None = None,
    passing_in: PassingIn = pass_all_by,
    clock: Callable[[], int] = now_ms,
    new_loop: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop,
) -> None:
    """Run a worker in this process, with its logs on stderr, until SIGTERM or SIGINT.

    Only tests hand over ``passing_in``, which hears of the crash points, another event loop, or another
    ``clock`` (see ``now_ms``); log lines bear the machine's time whatever that says.

    Raises SettingUnusable; CounterpartUnusable; InstanceIdTaken when another process has our instance id.
    """
    metrics = Metrics()
    logger = make_logger(
        stream=sys.stderr,
        style=settings.log_format.value,
        clock=now_ms,
        dropped=lambda count: metrics.count(Metric.LOG_FIELDS_DROPPED, count),
    )
    capture_libraries(logger)
    capture_crashes(logger)
    observer = Observer(logger=logger, metrics=metrics)
    calm_collector()
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(
            run_worker(
                settings,
                observer=observer,
                registry=metrics.registry,
                options=options,
                passing_in=passing_in,
                clock=clock,
            )
        )


def calm_collector() -> None:
    """Let Python's cycle collector look at what is new only, and less often.

    A worker keeps much and makes few cycles: with the default thresholds the collector took 18 % of the CPU.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


async def run_worker(
    settings: Settings,
    *,
    observer: Events,
    registry: CollectorRegistry,
    options: StartOptions | None = None,
    passing_in: PassingIn = pass_all_by,
    clock: Callable[[], int] = now_ms,
) -> None:
    """Run a worker under FastStream's lifecycle, with health and metrics, until SIGTERM or SIGINT."""
    host, _, port = settings.http.address.rpartition(":")
    async with Worker.open(
        settings, observer=observer, options=options, passing_in=passing_in, clock=clock
    ) as worker:
        observer.log("worker.started", version=__version__)
        observer.gauge("unbinding_worker_info", 1, version=__version__, profile=settings.profile.value)
        app = WorkerApp(work=(worker,), troubles=worker.troubles, registry=registry)
        await app.serve(host=host.strip("[]"), port=int(port))
    observer.log("worker.stopped")


class Worker:
    """One worker process: a pump, the hub, the holds' follower, and what they share."""

    def __init__(self, *, pump: Pump[Shard], follower: HoldsFollower) -> None:
        """Take the parts, built and not yet running; ``open`` builds them."""
        self._pump = pump
        self._follower = follower
        self._stopped = False

    @staticmethod
    @asynccontextmanager
    async def open(
        settings: Settings,
        *,
        observer: Events,
        options: StartOptions | None = None,
        passing_in: PassingIn = pass_all_by,
        clock: Callable[[], int] = now_ms,
    ) -> AsyncIterator[Worker]:
        """Build a worker, and drain and close it at the end. Raises SettingUnusable."""
        start = options or StartOptions()
        self_test()
        connection = connection_of(settings)
        log_settings = log_settings_of(settings)
        vault = vault_of(settings)
        async with open_hub(
            counterparts_of(settings),
            apis=apis_of(profile_of(settings).edition),
            in_flight=settings.limits.in_flight,
            clock=clock,
            chance=random.random,
            observer=observer,
            passing=passing_in(None),
        ) as hub:
            reader = Reader(connection, role="holds")
            follower = HoldsFollower(
                reader=reader,
                topic=log_settings.names[LogicalTopic.HOLDS],
                counterpart_of=lambda step: hub.line(step).partition(":")[0],
                changed=lambda: _tell(pump),
                observer=observer,
            )
            parts = Parts(
                hub=hub,
                vault=vault,
                profile=profile_of(settings),
                surroundings=_surroundings(settings, hub=hub, vault=vault, holds=follower),
                clock=clock,
                observer=observer,
                linger=Linger(now=time.monotonic),
                passing_in=passing_in,
            )
            pump: Pump[Shard] = Pump(
                connection=connection,
                log_settings=log_settings,
                settings=PumpSettings(
                    instance_id=settings.instance_id, drain_limit_ms=settings.kafka.drain_timeout_ms
                ),
                make_shard=lambda partition, log, feed, lease: make_shard(
                    settings, start, parts, partition=partition, log=log, feed=feed, lease=lease
                ),
                position_of=_requests_position,
                observer=observer,
                passing_in=passing_in,
            )
            worker = Worker(pump=pump, follower=follower)
            try:
                yield worker
            finally:
                await worker.stop()
                await reader.close()

    async def run(self) -> None:
        """Serve until cancelled, or until a part fails."""
        tasks = {asyncio.create_task(self._follower.run()), asyncio.create_task(self._pump.run())}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def stop(self) -> None:
        """Drain the shards, leave the group; once."""
        if not self._stopped:
            self._stopped = True
            await self._pump.stop()

    def troubles(self) -> list[str]:
        """Say what keeps the worker from its work; empty if nothing does."""
        closed = [
            f"shard {partition}: {shard.why}"
            for partition, shard in self._pump.shards.items()
            if shard.why is not None
        ]
        held = [] if self._follower.trouble is None else [f"holds: {self._follower.trouble}"]
        return [*self._pump.troubles, *closed, *held]


def make_shard(
    settings: Settings,
    start: StartOptions,
    parts: Parts,
    *,
    partition: int,
    log: Log,
    feed: Feed,
    lease: Lease,
) -> Shard:
    """Build the closed shard of a partition."""
    return Shard(
        options=ShardOptions(
            partition=partition,
            partitions=settings.topics.partitions,
            source=f"/{settings.application}",
            record_bytes=settings.limits.record_bytes,
            live_sagas=settings.limits.live_sagas,
            live_bytes=settings.limits.live_bytes,
            accept_loss=partition in start.accept_loss,
            given_up_keys=start.give_up_keys,
            remembering=Remembering(
                time_ms=settings.remember.time_ms, bytes=settings.remember.bytes_per_shard
            ),
        ),
        log=log,
        feed=feed,
        hub=parts.hub,
        lease=lease,
        vault=parts.vault,
        profile=parts.profile,
        surroundings=parts.surroundings,
        clock=parts.clock,
        observer=parts.observer,
        linger=parts.linger,
        passing=parts.passing_in(partition),
    )


# --- from settings to plain parts ------------------------------------------


def log_settings_of(settings: Settings) -> LogSettings:
    """Return what all shards' logs have in common."""
    return LogSettings(
        application=settings.application,
        names=topic_names(settings),
        transaction_timeout_ms=settings.kafka.transaction_timeout_ms,
        stall_limit_ms=settings.kafka.restore_timeout_ms,
    )


def vault_of(settings: Settings) -> Vault:
    """Return the vault with its two key rings. Raises SettingUnusable."""
    sealing = _ring(settings.sealing.keys_file, settings.sealing.active, Purpose.SEALING, "sealing.keys_file")
    prints = _ring(
        settings.sealing.fingerprint_keys_file,
        settings.sealing.fingerprint_active,
        Purpose.FINGERPRINTS,
        "sealing.fingerprint_keys_file",
    )
    return Vault(
        sealing=sealing, fingerprinting=prints, sealer=Sealer(sealing), fingerprints=Fingerprints(prints)
    )


def profile_of(settings: Settings) -> Profile:
    """Return the steps this worker can take: the profile's, where the counterpart is configured."""
    name = ProfileName(settings.profile.value)
    steps = tuple(step for step in PROFILE_STEPS[name] if _configured(settings, step))
    consult = settings.steps.consult
    return Profile(
        steps=steps,
        edition=_edition(settings, name),
        consult=consult != "off",
        unconsulted_psps=frozenset() if isinstance(consult, str) else frozenset(consult),
    )


def rules_of(settings: Settings) -> Rules:
    """Return the numbers of the rules."""
    return Rules(
        patience={
            step: Patience(
                quick=found.quick, waits_ms=found.waits_ms, give_up_after_ms=found.give_up_after_ms
            )
            for step in Step
            for found in (getattr(settings.patience, step.value),)
        }
    )


def counterparts_of(settings: Settings) -> list[Counterpart]:
    """Return the counterparts of the profile's steps, with their keys loaded. Raises SettingUnusable."""
    steps = profile_of(settings).steps
    names = {counterpart_of(step, profile=settings.profile) for step in steps}
    found = []
    for name in CounterpartName:
        given = settings.counterparts.get(name)
        if given is not None and name in names:
            wanted = {step for step in steps if counterpart_of(step, profile=settings.profile) is name}
            found.append(_counterpart(name, given, wanted))
    return found


def _counterpart(name: CounterpartName, given: CounterpartSettings, steps: set[Step]) -> Counterpart:
    where = f"counterparts.{name.value}"
    password = None
    if given.private_key_password_file is not None:
        password = read_secret(
            given.private_key_password_file, name=f"{where}.private_key_password_file"
        ).encode()
    try:
        signer = load_signer(
            read_file(given.private_key_file, name=f"{where}.private_key_file"),
            source=str(given.private_key_file),
            password=password,
        )
        keys = {
            version: load_verifier(read_file(path, name=f"{where}.public_key_files"), source=str(path))
            for version, path in given.public_key_files.items()
        }
        return Counterpart(
            name=name.value,
            base_url=given.base_url,
            client_id=given.client_id,
            key_version=given.key_version,
            signer=signer,
            public_keys=PublicKeys({given.client_id: keys}),
            paths={step: given.paths[step.value] for step in steps},
            timeout_ms=given.timeout_ms,
            in_flight=given.in_flight,
            rate=given.rate,
            ca_file=given.ca_file,
            client_cert_file=given.client_cert_file,
        )
    except (KeyUnusable, CounterpartUnusable) as error:
        raise SettingUnusable(f"{where}: {error}") from error


def _configured(settings: Settings, step: Step) -> bool:
    if step is Step.NOTIFY_HUB and settings.steps.notify_hub == "off":
        return False
    given = settings.counterparts.get(counterpart_of(step, profile=settings.profile))
    return given is not None and step.value in given.paths


def _edition(settings: Settings, name: ProfileName) -> Edition:
    tokens = settings.counterparts.tokens
    if name is ProfileName.ANTOM_MERCHANT:
        return Edition.ANTOM
    if tokens is not None and "edition" in tokens.model_fields_set:
        return Edition(tokens.edition.value)
    return EDITIONS[name]


def _surroundings(settings: Settings, *, hub: HttpHub, vault: Vault, holds: HoldsFollower) -> Surroundings:
    return Surroundings(
        vault=vault, rules=rules_of(settings), holds=holds, line_of=hub.line, chance=random.random
    )


def _ring(path: Path | None, active: str | None, purpose: Purpose, name: str) -> KeyRing:
    if path is None:
        raise SettingUnusable(
            f"{name} is not set: make key rings with 'unbinding keys new', and name it here"
        )
    try:
        return read_key_file(read_file(path, name=name).decode(), purpose=purpose, source=str(path)).ring(
            active=active
        )
    except (KeyFileInvalid, UnicodeDecodeError) as error:
        raise SettingUnusable(f"{name}: {error}") from error


def _requests_position(shard: Shard) -> int | None:
    position = shard.position()
    return None if position is None else position.get(Input.REQUESTS)


def _tell(pump: Pump[Shard]) -> None:
    for shard in pump.shards.values():
        shard.holds_changed()
