"""What a command that reads the cluster once knows of the operator's own state: the part that a pool's status records.

`explain`, `diff` and `drill` decide from it. The running operator also has timers, which the status does not record.
"""

from collections.abc import Iterable, Mapping

import msgspec

from computepool.model.api import ComputePool, ConditionStatus, SignalVerdict
from computepool.model.cluster import Node
from computepool.model.signals import SignalData
from computepool.model.snapshot import Snapshot
from computepool.model.state import PoolState, recorded_in, restarted


def signals_in(pool: ComputePool) -> Mapping[str, SignalData]:
    """Return the operator's verdicts on signals, by key. The data is the operator's alone."""
    return {
        signal.key: SignalData(error=signal.message)
        if signal.verdict is SignalVerdict.UNKNOWN
        else SignalData(verdict=signal.on)
        for signal in pool.status.signals
    }


def state_of(pool: ComputePool, nodes: Iterable[Node]) -> PoolState:
    """Return the recorded state, and two timers as far as conditions and breakers tell: since when the primary is
    stable, and since when the status of nodes is Unknown.

    A new leader starts these timers anew. Here the leader has not changed.
    """
    state = restarted(recorded_in(pool))
    unknown_since = {
        node.name: node.ready_since for node in nodes if node.ready == "Unknown" and node.ready_since is not None
    }
    state = PoolState(state.recorded, msgspec.structs.replace(state.memory, unknown_since=unknown_since))
    saturated = pool.status.condition("Saturated")
    if saturated is None or saturated.status is not ConditionStatus.FALSE:
        return state
    since = max(saturated.last_transition_time.timestamp(), state.breaker(pool.spec.primary.name).since)
    return PoolState(state.recorded, msgspec.structs.replace(state.memory, stable_since=since))


def state_in(snapshot: Snapshot) -> PoolState:
    """Return the same of a snapshot's pool and nodes."""
    return state_of(snapshot.pool, (info.node for info in snapshot.nodes))
