"""When each node was last heard: the renewals of its Lease, by our own clock.

A node's kubelet renews its Lease in kube-node-lease four times in the time that the Lease lasts, every 10 s by default:
https://kubernetes.io/docs/concepts/architecture/nodes/#node-heartbeats

What always holds (invariant 4): no node counts as silent for what could not be heard. Silence is counted from the last
heartbeat or from `listening_since`, whichever is later, and that moves on whenever we could not hear: while the watch
is broken, when it was listed anew, after this process was stopped or its machine asleep, and when nobody at all has
been heard for longer than any living node is quiet (an API server or a store that was away: the first node that gets
through again says nothing about those that have not yet).
"""

from collections.abc import Callable, Collection, Mapping
from typing import Final

import msgspec

from computepool.kube import wire

LATE_SECONDS: Final = 3.0
"""A tick that comes so late shows that this process did not run in between."""
DEAF_SECONDS: Final = 2.0
"""A watch that is away for less is resumed where it ended, and nothing is heard late."""
STEP_SECONDS: Final = 0.5
"""The time of day drifts from a steady clock by less than this between steps."""
QUIET_SHARE: Final = 0.3
"""Share of a Lease's duration. No living node is quiet for so long: a quarter passes between renewals."""
LONGER_SHARE: Final = 0.5
"""A Lease that lasts longer than the default is renewed less often (the kubelet's nodeLeaseDurationSeconds). This share
of the extra duration is allowed before the node counts as silent; two renewals take less."""


class Lease(msgspec.Struct, frozen=True, gc=False):
    """A node's Lease. `renewed` is what its renewTime says, only ever compared with what it said before."""

    name: str
    resource_version: int
    renewed: str
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
    """By node name. Filled by a reflector, and looked after by `tick`, once a second."""

    def __init__(self, *, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        """`clock` stamps what the reflector brings and goes on whatever happens; `wall` is the time of day."""
        self._clock = clock
        self._wall = wall
        self._offset = wall() - clock()
        self._ticked = clock()
        self._deaf_since: float | None = None
        self._listening = wall()
        self._last = self._listening
        self._renewed: dict[str, str] = {}
        # When each was last heard; moved later for nodes that renew seldom.
        self._beats: dict[str, float] = {}
        self._copy: Mapping[str, float] | None = None
        self._silent: dict[int, frozenset[str]] = {}

    # --- from the reflector

    def sync_started(self, at: float) -> None:
        """Begin to hear: what was there before the list does not show which nodes live."""
        self._listen_anew(at + self._offset)

    def put(self, lease: Lease, at: float) -> None:
        """Take in a Lease: a heartbeat where it was renewed. The first sight of one counts as such."""
        if self._renewed.get(lease.name) == lease.renewed:
            return
        when = at + self._offset
        if when - self._last > lease.seconds * QUIET_SHARE:
            self._listen_anew(when)
        self._last = when
        self._renewed[lease.name] = lease.renewed
        self._beats[lease.name] = when + max(0, lease.seconds - _DEFAULT_SECONDS) * LONGER_SHARE
        self._copy = None

    def drop(self, name: str) -> None:
        """Forget a node."""
        self._renewed.pop(name, None)
        self._beats.pop(name, None)
        self._copy = None

    def sync_finished(self, at: float) -> None:
        """Hear from now on."""
        self._listen_anew(at + self._offset)

    # --- from the app

    def tick(self, *, connected: bool) -> None:
        """Notice what keeps us from hearing. `connected`: whether the watch is open."""
        self._notice()
        now = self._ticked = self._clock()
        deaf_since, self._deaf_since = self._deaf_since, None
        if deaf_since is not None and now - deaf_since >= DEAF_SECONDS:
            self._listen_anew(now + self._offset)
        if not connected:
            self._deaf_since = now if deaf_since is None else deaf_since

    def changed(self, seconds: int) -> tuple[frozenset[str], bool]:
        """Return the nodes that fell silent for so many seconds, or were heard again, since the call before.

        The second value is true if there are any and at least half of all nodes are, or were, silent. Then every pool
        has to be looked at: the answer to "is it us who hear nothing?" may have changed.
        """
        before, after = self._silent.get(seconds, _NOBODY), self.silent(seconds)
        self._silent[seconds] = after
        turned = before ^ after
        return turned, bool(turned) and 2 * max(len(before), len(after)) >= len(self._beats)

    def keep(self, seconds: Collection[int]) -> None:
        """Forget what `turned` returned for any other time: asked for again, it starts anew."""
        self._silent = {time: silent for time, silent in self._silent.items() if time in seconds}

    # --- what a pass reads

    def silent(self, seconds: int) -> frozenset[str]:
        """Return the nodes that were not heard for so many seconds."""
        since, limit = self.listening_since, self._wall() - seconds
        if since > limit:
            return _NOBODY
        return frozenset(name for name, when in self._beats.items() if when <= limit)

    def seen(self) -> Mapping[str, float]:
        """Return when each node was last heard, by the time of day; it stays as it is whatever comes later.

        Of one whose Lease lasts longer than usual, a time so much later as it may be quiet for longer than others.
        """
        self._notice()
        if self._copy is None:
            self._copy = dict(self._beats)
        return self._copy

    @property
    def listening_since(self) -> float:
        """Since when everybody is heard, by the time of day."""
        self._notice()
        return self._listening

    def _listen_anew(self, when: float) -> None:
        self._listening = max(self._listening, when)

    def _notice(self) -> None:
        """Find out whether this process was stopped, and whether the time of day was set.

        Called before every use: after a pause, a pass may be the first thing that runs.
        """
        now, wall = self._clock(), self._wall()
        step = wall - now - self._offset
        if abs(step) > STEP_SECONDS:
            self._offset += step
            self._last += step
            self._beats = {name: when + step for name, when in self._beats.items()}
            self._copy = None
            # Set, or asleep while the steady clock stood still: the one can't be told from the other.
            self._listening = wall
        elif now - self._ticked > LATE_SECONDS:
            self._listen_anew(wall)


_NOBODY: Final[frozenset[str]] = frozenset()
