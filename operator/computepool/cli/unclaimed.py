"""Why no pool looks after a pod: which selector of which pool does not match."""

from collections.abc import Iterable, Mapping
from typing import Final

from computepool.assess.demand.pool_of_pod import Claimant, claimants
from computepool.cli.cluster_view import View
from computepool.model.accelerators import devices_of, request_of
from computepool.model.cluster import Pod
from computepool.model.labels import Labels, Requirement
from computepool.model.quantity import whole

NAMED_POOLS: Final = 5


def why_unclaimed(view: View, pod: Pod, namespace: Labels | None) -> tuple[str, ...]:
    """Return sentences that say why no pool has the pod. `namespace`: its labels; None: they may not be read."""
    if pod.namespace in view.reserved:
        return (f"Pods of namespace {pod.namespace} are never managed.",)
    pools = claimants(view.store.pools.values())
    if not pools:
        return ("There is no ComputePool in the cluster.",)
    fitting = [claimant for claimant in pools if request_of(pod, claimant.resource)]
    if not fitting:
        resources = ", ".join(sorted({claimant.resource for claimant in pools}))
        return (f"It requests no accelerator of any pool ({resources}){_instead(pod)}.",)
    said = [f"Pool {claimant.pool}: {_mismatch(claimant, pod, namespace)}." for claimant in fitting]
    more = len(said) - NAMED_POOLS
    return (*said[:NAMED_POOLS], *([f"And {more} more pools do not select it."] if more > 0 else []))


def _instead(pod: Pod) -> str:
    others = [f"{whole(amount)} {name}" for name, amount in devices_of(pod.shape)]
    return f"; it requests {', '.join(others)}" if others else ""


def _mismatch(claimant: Claimant, pod: Pod, namespace: Labels | None) -> str:
    """Say which requirement of a pool that counts the pod's accelerator does not match."""
    if (failed := _first_failed(claimant.pods.requirements, pod.labels)) is not None:
        return f"its podSelector wants {_written(failed)}, and the pod has {_has(failed, pod.labels)}"
    if namespace is None:
        return f"its namespaceSelector may not match, because the labels of namespace {pod.namespace} may not be read"
    if (failed := _first_failed(claimant.namespaces.requirements, namespace)) is not None:
        has = _has(failed, namespace)
        return f"its namespaceSelector wants {_written(failed)}, and namespace {pod.namespace} has {has}"
    return "an older pool may select it, by labels of the namespace that are not known"


def _first_failed(requirements: Iterable[Requirement], labels: Mapping[str, str]) -> Requirement | None:
    return next((need for need in requirements if not need.matches(labels)), None)


def _written(need: Requirement) -> str:
    match need.operator:
        case "In" if len(need.values) == 1:
            return f"{need.key}={need.values[0]}"
        case "Exists":
            return f"a label {need.key}"
        case "DoesNotExist":
            return f"no label {need.key}"
    return f"{need.key} {need.operator} ({', '.join(need.values)})"


def _has(need: Requirement, labels: Mapping[str, str]) -> str:
    value = labels.get(need.key)
    return f"no label {need.key}" if value is None else f"{need.key}={value}"
