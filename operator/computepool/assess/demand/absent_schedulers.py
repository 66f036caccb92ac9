"""Schedulers that pods name in spec.schedulerName and that bind nobody: their pods wait for nothing.

Such pods are no evidence against a provider, and another toleration does not help them. A scheduler counts as at work
once any pod of its name was seen bound, or was judged unschedulable. Otherwise it is absent as soon as a pod has waited
for it as long as the quickest provider is given to bind a pod. Kubernetes' own scheduler is never absent.
"""

from collections.abc import Sequence

import msgspec

from computepool.assess.capacity.providers import Provider
from computepool.model.cluster import Pod
from computepool.model.snapshot import Snapshot


class AbsentSchedulers(msgspec.Struct, frozen=True):
    """The waiting pods, apart by whether their scheduler is at work."""

    present: tuple[Pod, ...]
    """Pods that a scheduler looks at, as far as is known."""
    absent: tuple[Pod, ...] = ()
    """Pods that nobody looks at."""
    recheck_at: float | None = None
    """When a scheduler counts as absent, if no pod of its name is bound by then."""


def absent_schedulers(snapshot: Snapshot, providers: Sequence[Provider], now: float) -> AbsentSchedulers:
    """Return the pool's waiting pods, apart by whether their scheduler is at work."""
    unproven = [pod for pod in snapshot.waiting if pod.shape.scheduler and _is_unproven(pod, snapshot)]
    if not unproven:
        return AbsentSchedulers(snapshot.waiting)
    patience = min(provider.timeout for provider in providers)
    due = {pod.shape.scheduler: pod.since + patience for pod in sorted(unproven, key=lambda pod: -pod.since)}
    names = {name for name, at in due.items() if now >= at}
    absent = {pod.uid for pod in unproven if pod.shape.scheduler in names}
    return AbsentSchedulers(
        tuple(pod for pod in snapshot.waiting if pod.uid not in absent),
        tuple(pod for pod in unproven if pod.uid in absent),
        min((at for at in due.values() if now < at), default=None),
    )


def _is_unproven(pod: Pod, snapshot: Snapshot) -> bool:
    in_other_hands = pod.gated or pod.nominated or pod.deleting is not None
    return not in_other_hands and pod.shape.scheduler not in snapshot.schedulers
