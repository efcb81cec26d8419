"""Takes snapshots for a new journal format or letter version: `python -m tests.upgrade.record`.

Snapshots of a released version are never taken again: they are what its workers have left on disks. It plays
simulations, and keeps the few moments which together show the most that can stand in a journal.
"""

from __future__ import annotations

import sys
from random import Random
from typing import TYPE_CHECKING, Any

from contracts.dead_letters import LETTER_VERSION
from tests.simulation.loop import Deadlock, Livelock, run
from tests.simulation.rest import Restless
from tests.simulation.scenario import Story, Wildness
from tests.simulation.setting import Setting, draw
from tests.simulation.subject import make_shard
from tests.simulation.world import World
from tests.upgrade.snapshots import FOLDER, KEYS, Snapshot, take
from worker.shard.journal import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SEEDS = 400
MOMENTS = 12
KEPT_MOST = 24


def main() -> int:
    """Write the snapshots of this version. Refuses to overwrite."""
    folder = FOLDER / f"journal-{VERSION}-letters-{LETTER_VERSION}"
    if folder.exists():
        sys.stderr.write(f"{folder} is there: what a version has written once is not written anew\n")
        return 1
    folder.mkdir(parents=True)
    seen: set[str] = set()
    for number, (snapshot, new) in enumerate(_best(), start=1):
        (folder / f"{number:02}.json").write_bytes(snapshot.to_json() + b"\n")
        seen |= new
        sys.stdout.write(f"{number:02}: {len(new)} new: {' '.join(sorted(new))}\n")
    sys.stdout.write(f"{len(seen)} things to be seen in {folder}\n")
    return 0


def _best() -> Iterator[tuple[Snapshot, set[str]]]:
    """Yield snapshots, each of which shows the most that those before it do not."""
    left = [(snapshot, features(snapshot)) for seed in range(SEEDS) for snapshot in _moments(seed)]
    seen: set[str] = set()
    for _ in range(KEPT_MOST):
        # The smaller of two that show the same.
        snapshot, shown = max(left, key=lambda found: (len(found[1] - seen), -len(found[0].journal)))
        if not shown - seen:
            return
        yield snapshot, shown - seen
        seen |= shown


def features(snapshot: Snapshot) -> set[str]:
    """Return what a snapshot shows: kinds of records, members, phases by step, reasons."""
    found = {f"kind {record.key.decode().partition(':')[0]}" for record in snapshot.journal}
    for saga in snapshot.sagas().values():
        found.add(f"{saga['kind']} {saga['phase']} at {saga['step']}")
        found.add(f"state {saga['state']}")
        found |= {f"{name} {saga[name]}" for name in ("reason", "evidence") if saga[name] is not None}
        found |= {f"member {name}" for name, content in saga.items() if content}
        found |= {f"{name} {step}" for name in ("attempted", "undecided", "done") for step in saga[name]}
        found |= {f"target {target['kind']}" for target in saga["targets"]}
        found |= {"joined"} if len(saga["requests"]) > 1 else set()
    for letter in snapshot.letter_headers().values():
        found.add(f"letter {letter['reason']} at {letter['step']}")
        found |= {f"letter's {name}" for name, content in letter.items() if content}
    return found


def _moments(seed: int) -> list[Snapshot]:
    random = Random(seed)  # noqa: S311 - a seed, no secret
    # Any profile, with room for all and the keys that the tests know.
    profile = draw(random)
    setting = Setting(
        steps=profile.steps,
        edition=profile.edition,
        consult=profile.consult,
        unconsulted_psps=profile.unconsulted_psps,
    )
    world = World(random.randrange(1 << 48), make_shard=make_shard, setting=setting)
    wildness = Wildness(sends=random.randint(10, 40), faults=2, jumps=False, helpful=random.random() < 0.5)
    story = Story(world, random, wildness, seed=seed, without=frozenset())
    found: list[Snapshot] = []

    def keep() -> None:
        found.append(take(world.cluster, taken_at=world.now()))

    for _ in range(MOMENTS):
        world.at_step(random.randrange(400, 30_000), _guarded(keep, found))
    try:
        run(world.loop, story.tell())
    except (Deadlock, Livelock, Restless) as error:
        raise RuntimeError(f"seed {seed} does not end well: mend that first") from error
    return [snapshot for snapshot in found if _usable(snapshot)]


def _usable(snapshot: Snapshot) -> bool:
    """Tell whether the shard had begun, and knows only keys that are never changed in a run."""
    keys = {saga["sealedWith"] for saga in snapshot.sagas().values()} - {None}
    begun = any(record.key == b"position" for record in snapshot.journal)
    return begun and keys <= {KEYS.sealing[0]} and snapshot.rest()["fingerprintKeys"] == [KEYS.prints[0]]


def _guarded(keep: Callable[[], None], found: list[Any]) -> Callable[[], None]:
    def strike() -> None:
        if len(found) < MOMENTS:
            keep()

    return strike


if __name__ == "__main__":
    sys.exit(main())
