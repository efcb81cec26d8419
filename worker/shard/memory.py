"""What a shard knows: its sagas, lanes, timers, lines, and what it remembers; restored from the journal."""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from worker.saga.model import Phase, Saga, Target, TargetKind
from worker.shard.seen import Seen

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from contracts.requests import RebindingRequested, UnbindingRequested
    from worker.ports import Input
    from worker.sealing.seal import Sealed
    from worker.shard.journal import LetterRecord, LineRecord, Meta
    from worker.shard.under_way import CallUnderWay

ACTIVE = frozenset({Phase.DUE, Phase.CALLING, Phase.WAITING, Phase.HELD, Phase.STOPPED})
"""The phases of the one saga of a lane whose turn it is."""

_ENTRY_BYTES = 700
"""What an entry weighs beside its sealed request and its meta, about: for the cap on live bytes."""


@dataclass(slots=True)
class Hot:
    """A request opened for the calls of a saga that is moving; dropped when it waits."""

    request: UnbindingRequested | RebindingRequested


@dataclass(slots=True, eq=False)
class Entry:
    """One saga in memory."""

    saga: Saga
    order: int
    sealed: Sealed | None = None
    packed: bytes = b""
    """Its meta, as in the journal."""
    meta: Meta | None = None
    hot: Hot | None = None
    call: CallUnderWay | None = None
    lettered: bool = False
    """A dead letter stands."""
    counted: bool = False
    """It counts as live."""
    dead: tuple[tuple[bytes, int], ...] = ()
    ended_at: int | None = None
    offered_since: bool = False
    """A rebinding was offered while it was parked; or it was a letter without a saga, and nobody knows."""
    extra: Mapping[str, Any] = field(default_factory=dict)

    key: str = field(init=False)
    """The saga's id: its key in the journal and among the letters."""

    def __post_init__(self) -> None:
        """Keep the key: it is asked for more often than anything else."""
        self.key = self.saga.saga_id

    @property
    def weight(self) -> int:
        """Bytes that it holds, about."""
        return _ENTRY_BYTES + len(self.packed) + (0 if self.sealed is None else len(self.sealed.value))

    def cool(self) -> None:
        """Drop what can be had again by opening the sealed request."""
        self.hot = None
        self.meta = None


@dataclass(slots=True, eq=False)
class Loose:
    """A letter without a saga."""

    key: str
    record: LetterRecord
    sealed: Sealed | None
    packed: bytes


@dataclass(slots=True)
class Lane:
    """The sagas of one binding: one active, the queued ones in order, and the parked ones."""

    active: str | None = None
    queue: list[str] = field(default_factory=list)
    parked: dict[str, None] = field(default_factory=dict)
    """In order; a binding can have thousands of letters, so that a list would be too slow to leave."""

    @property
    def empty(self) -> bool:
        """Whether the lane may be dropped."""
        return self.active is None and not self.queue and not self.parked


@dataclass(slots=True)
class Line:
    """A stopped line: who waits for it, and which saga probes it."""

    record: LineRecord
    waiting: dict[str, None] = field(default_factory=dict)
    probe: str | None = None


class Memory:
    """Everything a shard knows. Only the shard's loop changes it; a failed transaction throws it away."""

    def __init__(self) -> None:
        self.position: dict[Input, int] | None = None
        self.fingerprint_keys: set[str] = set()
        """The keys that the digests here were made with."""
        self.position_extra: Mapping[str, Any] = {}
        """Members of the position's record that a newer version wrote."""
        self.entries: dict[str, Entry] = {}
        self.loose: dict[str, Loose] = {}
        self.lanes: dict[str, Lane] = {}
        self.lines: dict[str, Line] = {}
        self.held: dict[str, int] = {}
        """Sagas under a hold, and when it ends (ms since the Unix epoch)."""
        self.ready: dict[str, None] = {}
        """Sagas to be looked at again, in order, some at a time: after a hold, a stopped line, a restore."""
        self.postponed: dict[str, None] = {}
        """Sagas whose call is due while it is not known what is held."""
        self.seen = Seen()
        self.ended: deque[str] = deque()
        """Ended sagas that no block has taken over yet, oldest first."""
        self.dead: dict[bytes, int] = {}
        """Dead targets of the sagas above and of notices without a saga, and since when."""
        self.noticed: dict[bytes, int] = {}
        """Of these, the ones that a ``dead:`` record keeps."""
        self.live = 0
        self.live_bytes = 0
        self.orders = 0
        self._by_request: dict[bytes, str] = {}
        self._by_target: dict[bytes, list[str]] = {}
        self._letters = 0
        self._timers: list[tuple[int, str]] = []
        self._hold_ends: list[tuple[int, str]] = []

    # --- sagas ----------------------------------------

    def take_in(self, entry: Entry) -> None:
        """Add a saga, new or restored, to the maps; its lane is the caller's."""
        saga = entry.saga
        self.entries[saga.saga_id] = entry
        self._letters += entry.lettered
        self.orders = max(self.orders, entry.order)
        for ref in saga.requests:
            self._by_request[ref.digest] = saga.saga_id
        self.name_targets(entry)
        for digest, at in entry.dead:
            self.note_dead(digest, at)
        if saga.phase not in (Phase.ENDED, Phase.PARKED):
            self.count_in(entry)

    def count_in(self, entry: Entry) -> None:
        """Count a saga that moves (parked ones do not: letters must not stop the shard)."""
        if entry.counted:
            return
        entry.counted = True
        self.live += 1
        self.live_bytes += entry.weight

    def count_out(self, entry: Entry) -> None:
        """No longer count a saga: it was parked, or it ended."""
        if not entry.counted:
            return
        entry.counted = False
        self.live -= 1
        self.live_bytes -= entry.weight

    def name_targets(self, entry: Entry) -> None:
        """Make a saga findable by its targets."""
        for target in entry.saga.targets:
            owners = self._by_target.setdefault(target.digest, [])
            if entry.key not in owners:
                owners.append(entry.key)

    def next_order(self) -> int:
        """Return a place behind all that were given."""
        self.orders += 1
        return self.orders

    def answers(self, digest: bytes, saga_id: str) -> None:
        """Note that a saga answers this request."""
        self._by_request[digest] = saga_id

    def renamed(self, entry: Entry, digest: bytes) -> None:
        """Note that a saga's one request is known by another digest now."""
        for ref in entry.saga.requests:
            if self._by_request.get(ref.digest) == entry.key:
                del self._by_request[ref.digest]
        self._by_request[digest] = entry.key

    def retire(self, entry: Entry, *, now_at: int) -> None:
        """Note that a saga ended: what was kept for its calls goes, its name waits for a block."""
        entry.ended_at = now_at
        entry.sealed = None
        entry.packed = b""
        entry.cool()
        self.ended.append(entry.key)

    def drop(self, entry: Entry) -> None:
        """Forget an ended saga that a block has taken over."""
        saga = entry.saga
        del self.entries[saga.saga_id]
        for ref in saga.requests:
            if self._by_request.get(ref.digest) == saga.saga_id:
                del self._by_request[ref.digest]
        for target in saga.targets:
            owners = self._by_target.get(target.digest)
            if owners is not None and saga.saga_id in owners:
                owners.remove(saga.saga_id)
                if not owners:
                    del self._by_target[target.digest]
        for digest, _ in entry.dead:
            self.count_dead(digest)

    def by_request(self, digests: Iterable[bytes]) -> Entry | None:
        """Return the saga that answers a request known by one of these digests."""
        for digest in digests:
            saga_id = self._by_request.get(digest)
            if saga_id is not None:
                return self.entries[saga_id]
        return None

    def owners(self, digest: bytes) -> Iterator[Entry]:
        """Yield the sagas that have this target, ended ones too."""
        for saga_id in tuple(self._by_target.get(digest, ())):
            yield self.entries[saga_id]

    def has_target(self, digest: bytes) -> bool:
        """Tell whether a saga has this target."""
        return digest in self._by_target

    # --- what is dead -------------------------------------------------------

    def note_dead(self, digest: bytes, at: int) -> None:
        """Note a dead target; the latest moment counts."""
        self.dead[digest] = max(at, self.dead.get(digest, 0))

    def count_dead(self, digest: bytes) -> None:
        """See anew since when a target is dead: a block took over one of those who knew."""
        moments = [at for owner in self.owners(digest) for known, at in owner.dead if known == digest]
        if digest in self.noticed:
            moments.append(self.noticed[digest])
        if moments:
            self.dead[digest] = max(moments)
        else:
            self.dead.pop(digest, None)

    def dead_since(self, digest: bytes) -> int | None:
        """Return since when a target is known to be dead."""
        known = self.dead.get(digest)
        seen = self.seen.moment(digest)
        if known is None or seen is None:
            return known if seen is None else seen
        return max(known, seen)

    def known_dead(self, target: Target, *, requested_at: int) -> bool:
        """Tell whether a target is dead for a request of that moment.

        A token never comes back. An agreement or an account can be bound again under its old name, so it
        counts only for a request that was made before it died; in doubt it is called.
        """
        since = self.dead_since(target.digest)
        if since is None:
            return False
        return target.kind is TargetKind.TOKEN or requested_at < since

    # --- lanes --------------------------------------------------------------

    def lane(self, binding_id: str) -> Lane:
        """Return the binding's lane, a new one if there is none."""
        lane = self.lanes.get(binding_id)
        if lane is None:
            lane = self.lanes[binding_id] = Lane()
        return lane

    def leave_lane(self, entry: Entry) -> Lane:
        """Take a saga out of its lane, wherever it stands in it."""
        lane = self.lane(entry.saga.binding_id)
        if lane.active == entry.key:
            lane.active = None
        if entry.key in lane.queue:
            lane.queue.remove(entry.key)
        lane.parked.pop(entry.key, None)
        return lane

    def drop_if_empty(self, binding_id: str) -> None:
        """Drop a lane without sagas."""
        lane = self.lanes.get(binding_id)
        if lane is not None and lane.empty:
            del self.lanes[binding_id]

    # --- those to be looked at again ------------------------------------------

    def look_at(self, keys: Iterable[str]) -> None:
        """Have these sagas looked at again, each once."""
        self.ready.update(dict.fromkeys(keys))

    def next_ready(self) -> Entry | None:
        """Take the next saga to be looked at again."""
        while self.ready:
            key = next(iter(self.ready))
            del self.ready[key]
            entry = self.entries.get(key)
            if entry is not None:
                return entry
        return None

    def hold(self, key: str, until: int) -> None:
        """Note that a saga is under a hold, and when that ends."""
        if self.held.get(key) != until:
            self.held[key] = until
            heapq.heappush(self._hold_ends, (until, key))

    def next_hold_end(self) -> int | None:
        """Return when the next hold ends (ms since the Unix epoch)."""
        ends = self._hold_ends
        while ends and self.held.get(ends[0][1]) != ends[0][0]:
            heapq.heappop(ends)
        return ends[0][0] if ends else None

    def release(self, *, now_at: int) -> None:
        """Have the sagas whose hold has ended looked at again; a hold that was made longer keeps them."""
        while (at := self.next_hold_end()) is not None and at <= now_at:
            key = heapq.heappop(self._hold_ends)[1]
            del self.held[key]
            self.ready[key] = None

    def forget_waits(self) -> None:
        """Forget timers and who waits for what, to be set anew."""
        self.ready.clear()
        self.held.clear()
        self.postponed.clear()
        self._timers.clear()
        self._hold_ends.clear()

    # --- sizes ---

    @property
    def timers(self) -> int:
        """Timers that run, void ones too."""
        return len(self._timers)

    @property
    def letters(self) -> int:
        """Dead letters that stand."""
        return len(self.loose) + self._letters

    def stand(self, entry: Entry, *, letter: bool) -> None:
        """Note that a saga's dead letter stands, or no longer does."""
        if entry.lettered is not letter:
            entry.lettered = letter
            self._letters += 1 if letter else -1

    # --- timers -------------------------------------------------------------

    def wake(self, entry: Entry) -> None:
        """Set the timer of a saga to its ``due_at``; an older one is void."""
        if entry.saga.due_at is not None:
            heapq.heappush(self._timers, (entry.saga.due_at, entry.key))

    def next_due(self) -> int | None:
        """Return when the next timer fires (ms since the Unix epoch)."""
        while self._timers and not self._counts(*self._timers[0]):
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def due(self, *, now_at: int, most: int) -> Iterator[Entry]:
        """Yield the sagas whose time has come, at most so many."""
        while most > 0:
            at = self.next_due()
            if at is None or at > now_at:
                return
            _, saga_id = heapq.heappop(self._timers)
            most -= 1
            yield self.entries[saga_id]

    def _counts(self, at: int, saga_id: str) -> bool:
        entry = self.entries.get(saga_id)
        return entry is not None and entry.saga.due_at == at and entry.saga.phase in ACTIVE
