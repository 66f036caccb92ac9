"""One pass over a pool, as the reports see it."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import cached_property

import msgspec

from computepool.assess.assessment import Assessment
from computepool.decide.plan import Plan
from computepool.model.api import AdmissionMode, Mode
from computepool.model.cluster import Pod
from computepool.model.snapshot import Snapshot
from computepool.model.state import PoolState
from computepool.report.unknown_providers import waiting_with_unknown_providers


class AdmissionGap(StrEnum):
    """Why new pods are not admitted to standbys as they are created, although spec.admission asks for it.

    Pending pods are patched then, which has the same effect a little later. So a gap is a problem only where the pool
    demands admission (mode Always; WhenSaturated is the default) and the cluster could have the policy.
    """

    NOT_SERVED = (
        "New pods are not admitted to standbys as they are created, but patched once they are pending: this API server "
        "does not serve MutatingAdmissionPolicy v1, which Kubernetes has from 1.36 on."
    )
    NOT_INSTALLED = (
        "New pods are not admitted to standbys as they are created, but patched once they are pending: there is no "
        "MutatingAdmissionPolicy computepool-burst. Unless the chart's value admissionPolicy.enabled is false, helm "
        "upgrade installs it."
    )
    DEMANDED = "New pods are not admitted to standbys as they are created: Degraded says why."
    """Not installed either, and spec.admission.mode is Always: the reason PolicyMissing."""


def admission_gap(mode: AdmissionMode, *, missing: bool, unserved: bool) -> AdmissionGap | None:
    """Return the gap of a pool with that mode; None where it has everything that it asks for.

    `missing`: the cluster has no policy. `unserved`: it has none because the API server does not know the kind.
    """
    if mode is AdmissionMode.OFF or not missing:
        return None
    if unserved:
        return AdmissionGap.NOT_SERVED
    return AdmissionGap.DEMANDED if mode is AdmissionMode.ALWAYS else AdmissionGap.NOT_INSTALLED


class Gaps(msgspec.Struct, frozen=True):
    """What the operator can't see or use of the cluster, beside `Snapshot.stale`."""

    unreadable: str = ""
    """The nodes, pods or namespaces that can't be read, and are missing from the snapshot; empty: none."""
    unfollowed: str = ""
    """The signals that do not come (heartbeats, failed pods), why, and what is not noticed without them."""
    admission: AdmissionGap | None = None
    denied: bool = False
    """Whether the snapshot is stale because the API server denies the operator a part of the view."""


class PassReport(msgspec.Struct, frozen=True, dict=True):
    """The input and the outcome of one pass. What several reports ask for is worked out once."""

    snapshot: Snapshot
    assessment: Assessment
    plan: Plan
    state: PoolState
    """What the next pass goes on from."""
    gaps: Gaps = Gaps()
    refused: str = ""
    """The writes for this pool that fail; empty if none does. Patches that the API server does not accept as they are,
    are in the state's memory."""
    announced_bursts: bool = False
    """Whether all bursts of the plan were reported before. In mode Observe a burst is decided again until its pod is
    bound, and in every mode a burst that the API server has refused."""
    announced_moves: bool = False
    """Whether all moves of the plan were reported before. In mode Observe a move is decided again until its pod is
    gone."""

    @property
    def observed(self) -> bool:
        """Whether nothing of the plan is done: mode Observe."""
        return self.snapshot.pool.spec.mode is Mode.OBSERVE

    @cached_property
    def pending(self) -> list[Pod]:
        """The pool's pods that wait for a node and that more than one node could take now."""
        return [pod for pod in self.snapshot.waiting if not (pod.gated or pod.node_bound or pod.deleting is not None)]

    @cached_property
    def unknown_providers(self) -> Sequence[tuple[Pod, str]]:
        """The pool's waiting pods whose annotation has names that are no provider, and the names."""
        return waiting_with_unknown_providers(self.snapshot)

    @cached_property
    def node_labels(self) -> Mapping[str, frozenset[tuple[str, str]]]:
        """By provider: every label, with its value, that any of its nodes has."""
        return {
            supply.provider.name: frozenset(item for info in supply.nodes for item in info.node.labels.items())
            for supply in self.assessment.supplies
        }

    @property
    def gated(self) -> int:
        """The number of the pool's pods that have scheduling gates."""
        return sum(1 for pod in self.snapshot.waiting if pod.gated)
