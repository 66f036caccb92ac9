"""When each node's last heartbeat was: the renewals of its Lease, by the operator's own clock.

A node's kubelet renews its Lease in kube-node-lease four times in the time that the Lease lasts, every 10 s by default:
https://kubernetes.io/docs/concepts/architecture/nodes/#node-heartbeats

What always holds (invariant 4): no node counts as silent for a time in which its heartbeat could not be received.
Silence is counted from the last heartbeat or from `listening_since`, whichever is later. `listening_since` moves on
when heartbeats could not be received: the watch was broken or listed anew, this process was stopped, its machine was
asleep, or no node's heartbeat came for longer than any living node takes between two. The last case is an API server
that was away: the first heartbeat that gets through says nothing about the other nodes.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from math import inf
from statistics import median_low
from typing import Final

import msgspec

from computepool.kube import wire

LATE_SECONDS: Final = 3.0
"""If no tick came for longer than this, the process did not run in between."""
GAP_SECONDS: Final = 2.0
"""A watch that is away for less is resumed where it ended, and no heartbeat is received late."""
STEP_SECONDS: Final = 0.5
"""The time of day is set forward if it gains more than this on the steady clock between two ticks."""
GAP_SHARE: Final = 0.3
"""Share of a Lease's duration. A living node renews sooner than this: a quarter passes between two renewals."""
INTERVAL_SECONDS: Final = 10.0
"""How often the time between two heartbeats is worked out anew, from all nodes."""
INTERVAL_CHANGE: Final = 0.2
"""The time between two heartbeats counts as changed if it differs by more than this share: nodes vary theirs a bit."""
LONGER_SHARE: Final = 0.5
"""A Lease that lasts longer than the default is renewed less often (the kubelet's nodeLeaseDurationSeconds). This share
of the extra duration is allowed before the node counts as silent; two renewals take less."""
RENEWALS: Final = 4
"""How often a kubelet renews its Lease in the time that the Lease lasts."""


class Lease(msgspec.Struct, frozen=True, gc=False):
    """A node's Lease."""

    name: str
    resource_version: int
    renewed: str
    """Its renewTime. It is only compared with the earlier one: it is of the node's clock."""
    seconds: int
    """How long it lasts."""


_LEASE: Final = msgspec.json.Decoder(wire.Lease)
_DEFAULT_SECONDS: Final = 40


def read_lease(raw: bytes) -> Lease:
    """Read a Lease; raises msgspec.ValidationError or ValueError for what is none."""
    obj = _LEASE.decode(raw)
    meta, spec = obj.metadata, obj.spec
    seconds = spec.lease_duration_seconds or _DEFAULT_SECONDS
    return Lease(meta.name, int(meta.resource_version), spec.renew_time or "", seconds)


class Heartbeats:
    """The last heartbeat by node name. A reflector fills it; `tick` is called once a second."""

    def __init__(self, *, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        """`clock` stamps what the reflector brings; `wall` is the time of day. Neither ever goes back."""
        self._clock = clock
        self._wall = wall
        self._offset = wall() - clock()
        self._ticked = clock()
        self._broken_since: float | None = None
        self._listening = wall()
        self._last = self._listening
        self._renewed: dict[str, str] = {}
        # By node, in seconds.
        self._durations: dict[str, int] = {}
        # By node, in the time of day; moved later for nodes that renew seldom.
        self._beats: dict[str, float] = {}
        self._copy: Mapping[str, float] | None = None
        # By node, in the time of day: when its Lease was read directly, and was as old as the watch had shown.
        self._read: dict[str, float] = {}
        self._read_copy: Mapping[str, float] | None = None
        self._silent: dict[int, frozenset[str]] = {}
        # By node: the last two times between heartbeats, received without a gap.
        self._intervals: dict[str, tuple[float, float]] = {}
        self._interval: float | None = None
        self._interval_at = -INTERVAL_SECONDS

    # --- from the reflector

    def sync_started(self, at: float) -> None:
        """Begin a list: Leases that were there before do not show which nodes live."""
        self._listen_anew(at + self._offset)

    def put(self, lease: Lease, at: float) -> None:
        """Take in a Lease. If it was renewed, or is seen for the first time, that is a heartbeat."""
        if self._renewed.get(lease.name) == lease.renewed:
            return
        when = at + self._offset
        if when - self._last > lease.seconds * GAP_SHARE:
            self._listen_anew(when)
        self._last = when
        self._renewed[lease.name] = lease.renewed
        self._durations[lease.name] = lease.seconds
        before, extra = self._beats.get(lease.name), max(0, lease.seconds - _DEFAULT_SECONDS) * LONGER_SHARE
        # Times of nodes that renew seldom are later than their heartbeats, so only the rest of the time counts.
        if before is not None and self._listening < before - extra and before < when:
            _, latest = self._intervals.get(lease.name, (inf, inf))
            self._intervals[lease.name] = (latest, when - before)
        self._beats[lease.name] = when + extra
        self._copy = None
        self._forget_read(lease.name)

    def drop(self, name: str) -> None:
        """Forget a node."""
        self._renewed.pop(name, None)
        self._durations.pop(name, None)
        self._beats.pop(name, None)
        self._intervals.pop(name, None)
        self._copy = None
        self._forget_read(name)

    def sync_finished(self, at: float) -> None:
        """End a list: heartbeats are received from now on."""
        self._listen_anew(at + self._offset)

    # --- from the app

    def compare(self, leases: Iterable[Lease], asked: float, at: float) -> None:
        """Take in Leases that were read directly from the API server, past the watch.

        Without news they confirm that these nodes are silent. If any was renewed, the watch shows an old state: the
        renewals are heartbeats, and none of the Leases confirms anything. `asked`: when the reading began; `at`: now.
        """
        found = list(leases)
        renewed = [lease for lease in found if self._renewed.get(lease.name) != lease.renewed]
        for lease in renewed:
            self.put(lease, at)
        if found and not renewed:
            self._read.update((lease.name, asked + self._offset) for lease in found)
            self._read_copy = None

    def tick(self, *, connected: bool) -> None:
        """Notice what keeps heartbeats from being received. `connected`: whether the watch is open."""
        self._notice()
        now = self._ticked = self._clock()
        broken_since, self._broken_since = self._broken_since, None
        if broken_since is not None and now - broken_since >= GAP_SECONDS:
            self._listen_anew(now + self._offset)
        if not connected:
            self._broken_since = now if broken_since is None else broken_since

    def changed(self, seconds: int) -> tuple[frozenset[str], bool]:
        """Return the nodes that fell silent for so many seconds, or beat again, since the call before.

        Second value: true if there are any and at least half of the nodes are silent before or after. Then every pool
        must be checked, because it may have changed whether the fault is on the operator's side.
        """
        before, after = self._silent.get(seconds, _NO_NODES), self.silent(seconds)
        self._silent[seconds] = after
        changed = before ^ after
        return changed, bool(changed) and 2 * max(len(before), len(after)) >= len(self._beats)

    def keep(self, seconds: Collection[int]) -> None:
        """Forget what `changed` returned for any other number of seconds."""
        self._silent = {time: silent for time, silent in self._silent.items() if time in seconds}

    # --- what a pass reads

    def silent(self, seconds: int) -> frozenset[str]:
        """Return the nodes without a heartbeat for so many seconds."""
        since, limit = self.listening_since, self._wall() - seconds
        if since > limit:
            return _NO_NODES
        return frozenset(name for name, when in self._beats.items() if when <= limit)

    def seen(self) -> Mapping[str, float]:
        """Return each node's last heartbeat, in the time of day. Later changes do not touch the mapping.

        The time of a node whose Lease lasts longer than the default is later by LONGER_SHARE of the extra duration.
        """
        self._notice()
        if self._copy is None:
            self._copy = dict(self._beats)
        return self._copy

    def read_live(self) -> Mapping[str, float]:
        """Return when each silent node's Lease was last read directly, in the time of day. Later changes do not touch
        the mapping.
        """
        if self._read_copy is None:
            self._read_copy = dict(self._read)
        return self._read_copy

    def interval(self) -> float | None:
        """Return the seconds between two heartbeats of a node; None without any node.

        It is the median over all nodes of the shorter of a node's last two times, so that neither a node that was
        silent nor a node with habits of its own decides. It stays the same while it varies a little. While too few
        times are seen, as after a start, it is the longest that the nodes' Leases let expect.
        """
        now = self._clock()
        if now - self._interval_at < INTERVAL_SECONDS and self._interval is not None:
            return self._interval
        known = [min(times) for times in self._intervals.values() if inf not in times]
        if 2 * len(known) >= max(1, len(self._beats)):
            self._interval_at, found = now, median_low(known)
            if self._interval is None or abs(found - self._interval) > INTERVAL_CHANGE * self._interval:
                self._interval = found
        return self._expected_interval() if self._interval is None else self._interval

    @property
    def listening_since(self) -> float:
        """Since when every heartbeat is received, in the time of day."""
        self._notice()
        return self._listening

    def _expected_interval(self) -> float | None:
        # What a Lease lasts longer than the default is allowed for by LONGER_SHARE.
        return min(_DEFAULT_SECONDS, max(self._durations.values())) / RENEWALS if self._durations else None

    def _forget_read(self, name: str) -> None:
        if self._read.pop(name, None) is not None:
            self._read_copy = None

    def _listen_anew(self, when: float) -> None:
        self._listening = max(self._listening, when)

    def _notice(self) -> None:
        """Find out whether this process was stopped, and whether the time of day was set forward.

        Called before every use: after a pause, a pass may be the first thing that runs.
        """
        now, wall = self._clock(), self._wall()
        step = wall - now - self._offset
        self._offset += step
        # The time of day was set forward, or the machine slept while the steady clock stood still.
        stepped = step > STEP_SECONDS
        if stepped:
            self._last += step
            self._beats = {name: when + step for name, when in self._beats.items()}
            self._copy = None
        if stepped or now - self._ticked > LATE_SECONDS:
            self._listen_anew(wall)


_NO_NODES: Final[frozenset[str]] = frozenset()
