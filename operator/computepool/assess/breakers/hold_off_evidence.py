"""The evidence for and against hold-offs: what is seen of the workloads and shapes that standbys fail."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from computepool.assess.breakers.canary import came_at, has_place
from computepool.assess.breakers.not_bound import NotBound, digest_of
from computepool.assess.capacity.providers import Provider
from computepool.assess.members import Members
from computepool.model.cluster import NodeInfo, Offer, Pod, Shape
from computepool.model.reasons import Reason
from computepool.model.snapshot import Snapshot

Subject = tuple[Reason, str]
"""WORKLOAD_BACK_OFF with the uid of a workload, or INSUFFICIENT_CAPACITY with the digest of a shape. The digest may be
followed by the uid of the only workload that is meant."""
Key = tuple[str, Reason, str]
"""The name of a provider, and the subject that it fails."""
_OF: Final = "/"
"""Between the digest of a shape and the uid of a workload."""
Evidence = Mapping[str, float]
"""By uid of a pod: when it failed there, or when it was offered the provider that has not bound it in time."""


class Seen:
    """The pool's pods of one workload or shape, as far as they tell of one provider."""

    def __init__(self, key: Key) -> None:
        """Begin without any pod."""
        self.workload = key[1] is Reason.WORKLOAD_BACK_OFF
        self.shape: Shape | None = None
        """The shape, if any pod of it is seen."""
        self.good = 0
        """How many are ready there (workload) or bound there (shape)."""
        self.refused = 0
        """How many are bound there, refused by a virtual kubelet and left pending, and never ran (workload)."""
        self.latest = 0.0
        """When the latest of these came."""
        self.place = not self.workload and not is_of_shape(key[2])
        """Whether a node there has a place for the shape, or had a place that only the pods of one workload left
        unused."""
        self.present = False
        """Whether the pool has any such pod, on whatever provider."""
        self.foreign = False
        """Whether the workload has a pod on a node of the pool that is not the pool's."""
        self.waits = False
        """Whether any such pod waits."""
        self.trials: list[tuple[float, str]] = []
        """When each pod came since the back-off was over that is neither good nor failed yet, and its uid."""

    @property
    def ours(self) -> bool:
        """Whether it is the pool's, as far as is seen. Pods that fail at once are often gone before they are seen."""
        return self.present or not self.foreign


def workload_key(provider: str, owner: str) -> Key:
    """Return the key of a workload at a provider. `owner`: its uid."""
    return provider, Reason.WORKLOAD_BACK_OFF, owner


def shape_key(provider: str, shape: Shape, owner: str = "") -> Key:
    """Return the key of a shape at a provider. `owner`: the uid of the only workload that is meant; empty for all."""
    digest = digest_of(shape)
    return provider, Reason.INSUFFICIENT_CAPACITY, f"{digest}{_OF}{owner}" if owner else digest


def is_of_shape(subject: str) -> bool:
    """Say whether the subject of a key with a shape is all pods of the shape, whatever their workload."""
    return _OF not in subject


def evidence_of(
    snapshot: Snapshot, providers: Sequence[Provider], members: Members, not_bound: NotBound
) -> dict[Key, dict[str, float]]:
    """Return the pods that standbys have failed, by workload and by shape. A failed bare pod does not come again."""
    found: dict[Key, dict[str, float]] = {}
    if failures := (*snapshot.failures, *snapshot.crashes):
        standby_of = {info.node.name: provider.name for provider in providers[1:] for info in members[provider.name]}
        for failure in failures:
            if failure.owner and failure.node in standby_of:
                found.setdefault(workload_key(standby_of[failure.node], failure.owner), {})[failure.uid] = failure.at
    several = snapshot.pool.spec.health.breaker.failures
    for name, pods in not_bound.late.items():
        for pod, at in pods:
            # The reason for an unused place is unknown: it may be the workload's own until other workloads show it too.
            alone = (pod.uid, name) in not_bound.placed and not_bound.workloads(name, pod.shape) < several
            if pod.owner or not alone:
                found.setdefault(shape_key(name, pod.shape, pod.owner if alone else ""), {})[pod.uid] = at
    return found


def observe(
    snapshot: Snapshot,
    providers: Sequence[Provider],
    members: Members,
    evidence: Mapping[Key, Evidence],
    until: Mapping[Key, float],
) -> dict[Key, Seen]:
    """Look once at all pods of the pool. `until`: the hold-offs so far, and when the back-off of each is over."""
    observer = _Observer(providers[1:], evidence, until)
    for provider in providers:
        for info in members[provider.name]:
            observer.see_node(info, snapshot.pool.name, provider)
    for pod in snapshot.waiting:
        observer.see_waiting(pod, snapshot.in_flight.get(pod.uid))
    for (name, *_), seen in observer.observed.items():
        shape = seen.shape
        if shape is not None and not seen.place:
            seen.place = any(info.node.usable and has_place(info, shape) for info in members[name])
    return observer.observed


class _Observer:
    """Notes what each pod of the pool tells."""

    def __init__(
        self, standbys: Sequence[Provider], evidence: Mapping[Key, Evidence], until: Mapping[Key, float]
    ) -> None:
        self.observed = {key: Seen(key) for key in until.keys() | evidence.keys()}
        self._standbys = standbys
        self._evidence = evidence
        self._until = until
        self._subjects = _Subjects((reason, name) for _, reason, name in self.observed)

    def see_node(self, info: NodeInfo, pool: str, provider: Provider) -> None:
        """Note the pods on a node of the provider, which may be the primary."""
        own = info.members(pool)
        for pod in own:
            self._see_bound(pod, provider)
        if len(own) < len(info.pods):
            uids = {pod.uid for pod in own}
            for pod in info.pods:
                if pod.uid not in uids:
                    for _, seen in self._at_standbys((Reason.WORKLOAD_BACK_OFF, pod.owner)):
                        seen.foreign = True

    def _see_bound(self, pod: Pod, provider: Provider) -> None:
        for subject in self._subjects.of(pod):
            for _, seen in self._at_standbys(subject):
                seen.present = True
            here = self.observed.get((provider.name, *subject))
            if here is None or pod.deleting is not None:
                continue
            came = came_at(pod, provider.name)
            here.refused += pod.never_accepted and here.workload
            if pod.ready or not here.workload:
                here.good += 1
                here.latest = max(here.latest, came)
            else:
                self._note_trial((provider.name, *subject), pod, came)

    def see_waiting(self, pod: Pod, in_flight: Offer | None) -> None:
        """Note a pod that waits. `in_flight`: the offer that is being written to it."""
        for subject in self._subjects.of(pod):
            for provider, seen in self._at_standbys(subject):
                seen.present = seen.waits = True
                if not seen.workload:
                    seen.shape = pod.shape
                if in_flight is not None and in_flight.provider == provider.name:
                    self._note_trial((provider.name, *subject), pod, in_flight.at)
                elif provider.tolerated_by(pod.shape):
                    self._note_trial((provider.name, *subject), pod, came_at(pod, provider.name))

    def _at_standbys(self, subject: Subject) -> Iterable[tuple[Provider, Seen]]:
        if not self._subjects.wants(subject):
            return
        for provider in self._standbys:
            if (seen := self.observed.get((provider.name, *subject))) is not None:
                yield provider, seen

    def _note_trial(self, key: Key, pod: Pod, came: float) -> None:
        """Note a pod that came since the back-off was over, unless it has failed. Creation has whole seconds."""
        until = self._until.get(key)
        if until is not None and came >= int(until) and pod.uid not in self._evidence.get(key, {}):
            self.observed[key].trials.append((came, pod.uid))


class _Subjects:
    """The workloads and shapes that are looked for. Pods share their shapes, so each shape is looked up once."""

    def __init__(self, wanted: Iterable[Subject]) -> None:
        self._wanted = frozenset(wanted)
        self._shaped = {
            name.partition(_OF)[0] for reason, name in self._wanted if reason is Reason.INSUFFICIENT_CAPACITY
        }
        self._digests: dict[int, str] = {}

    def wants(self, subject: Subject) -> bool:
        """Say whether the workload or shape is looked for."""
        return subject in self._wanted

    def of(self, pod: Pod) -> list[Subject]:
        """Return the workload and the shape of a pod, as far as they are looked for."""
        workload = Reason.WORKLOAD_BACK_OFF, pod.owner
        found: list[Subject] = [workload] if workload in self._wanted else []
        if self._shaped:
            digest = self._digest_of(pod)
            shapes = ((Reason.INSUFFICIENT_CAPACITY, name) for name in (digest, f"{digest}{_OF}{pod.owner}"))
            found += filter(self._wanted.__contains__, shapes) if digest in self._shaped else ()
        return found

    def _digest_of(self, pod: Pod) -> str:
        identity = id(pod.shape)
        if identity not in self._digests:
            self._digests[identity] = digest_of(pod.shape)
        return self._digests[identity]
