"""Settings that can't work in this cluster."""

from collections.abc import Iterable, Sequence
from math import ceil
from typing import Final

from computepool.assess.capacity.reach import Reach
from computepool.assess.configuration.commands import merge_pool
from computepool.assess.configuration.finding import Finding, Severity
from computepool.assess.health.silence import counted_silence
from computepool.assess.members import Members
from computepool.model.reasons import Reason
from computepool.model.snapshot import Snapshot
from computepool.model.taints import Taint

GENEROUS: Final = 2.5
"""How many heartbeats the recommended `silentSeconds` lasts, as the default does."""


def silence_finding(snapshot: Snapshot) -> Iterable[Finding]:
    """Yield a finding if `silentSeconds` is shorter than two heartbeats."""
    health, interval = snapshot.pool.spec.health, snapshot.heartbeat_interval
    counted = counted_silence(health.silent_seconds, interval)
    if interval is None or counted == health.silent_seconds:
        return
    command = merge_pool(snapshot.pool.name, {"health": {"silentSeconds": ceil(interval * GENEROUS)}})
    yield Finding(
        Reason.SILENT_SECONDS_TOO_SHORT,
        Severity.FAULT,
        f"health.silentSeconds is {health.silent_seconds}, which is shorter than two heartbeats, and so a node counts "
        f"as silent after {counted} s",
        mend=command,
    )


def removal_findings(snapshot: Snapshot, members: Members, reach: Reach) -> Iterable[Finding]:
    """Yield a finding for each provider all of whose nodes announce their removal by a taint that pods tolerate.

    The pool's pods are meant to run on such nodes. So the taint is part of the provider, and announces nothing.
    """
    keys = snapshot.pool.spec.health.removal_taints
    for provider, infos in members.items():
        found = [key for key in keys if infos and all(_carries(info.node.taints, key) for info in infos)]
        own = [key for key in found if _is_tolerated(key, reach)]
        if own:
            kept = [key for key in keys if key not in own]
            yield Finding(
                Reason.REMOVAL_TAINT_IS_OWN,
                Severity.FAULT,
                f"all nodes of {provider} carry {' and '.join(own)}, which the pool's pods tolerate and which "
                "health.removalTaints lists",
                provider=provider,
                mend=merge_pool(snapshot.pool.name, {"health": {"removalTaints": kept}}),
            )


def _carries(taints: Sequence[Taint], key: str) -> bool:
    return any(taint.key == key for taint in taints)


def _is_tolerated(key: str, reach: Reach) -> bool:
    return any(toleration.key == key for tolerations in reach.tolerations for toleration in tolerations)
