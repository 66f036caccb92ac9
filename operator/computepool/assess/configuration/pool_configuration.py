"""All differences between a pool's manifest and the cluster, worst first."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from computepool.assess.capacity.reach import Reach
from computepool.assess.capacity.supply import Overlaps, Supply
from computepool.assess.configuration.finding import Finding
from computepool.assess.configuration.nodes import DeviceCheck, accelerator_not_found, claimed_twice, unmatched
from computepool.assess.configuration.settings import removal_findings, silence_finding
from computepool.assess.configuration.taints import TaintCheck
from computepool.assess.configuration.workloads import workload_findings
from computepool.assess.health.pool_health import Health
from computepool.model.reasons import Reason
from computepool.model.snapshot import Snapshot

_ORDER: Final = (
    Reason.NODES_CLAIMED_TWICE,
    Reason.ACCELERATOR_NOT_FOUND,
    Reason.NO_NODES_MATCH,
    Reason.NO_NAMESPACE_MATCHES,
    Reason.STANDBY_NOT_TAINTED,
    Reason.STANDBY_TAINT_NOT_TOLERATED,
    Reason.PRIMARY_TAINT_NOT_TOLERATED,
    Reason.REMOVAL_TAINT_IS_OWN,
    Reason.SILENT_SECONDS_TOO_SHORT,
    Reason.NO_DEVICES_ON_NODE,
    Reason.ACCELERATOR_NOT_REQUESTED,
    Reason.NO_PODS_MATCH,
)
"""Reasons of equal severity, worst first."""


class Configuration(msgspec.Struct, frozen=True):
    """The manifest held against the cluster."""

    findings: tuple[Finding, ...] = ()
    """Worst first."""
    unusable: Mapping[str, frozenset[str]] = MappingProxyType({})
    """By provider: names of its nodes whose taints keep all of the pool's pods off, and are there to stay."""
    recheck_at: float | None = None
    """When time alone may add a finding, in seconds since the epoch."""


def configuration_of(
    snapshot: Snapshot, supplies: Sequence[Supply], overlaps: Overlaps, reach: Reach, health: Health, now: float
) -> Configuration:
    """Return the findings. A view that is not current shows no difference (invariant 4)."""
    if snapshot.stale:
        return Configuration()
    pool, providers = snapshot.pool, [supply.provider for supply in supplies]
    shared = frozenset(name for claimants in overlaps for name in claimants)
    taints = TaintCheck(pool, supplies, reach, shared)
    devices = DeviceCheck(pool, health.providers, now)
    not_found = tuple(accelerator_not_found(pool, supplies))
    members = {supply.provider.name: supply.nodes for supply in supplies}
    found = (
        *claimed_twice(pool, providers, overlaps),
        *not_found,
        *unmatched(supplies),
        *workload_findings(snapshot),
        *taints.findings(),
        *removal_findings(snapshot, members, reach),
        *silence_finding(snapshot),
        *(() if not_found else devices.findings(supplies)),
    )
    ordered = sorted(found, key=lambda finding: (finding.severity, _ORDER.index(finding.reason)))
    return Configuration(tuple(ordered), taints.unusable, devices.recheck_at)
