"""Selectors of workloads that find no namespace, no pod, or only pods without accelerators."""

from collections.abc import Iterable

from computepool.assess.configuration.commands import make_namespace, merge_pool
from computepool.assess.configuration.finding import Finding, Severity
from computepool.model.reasons import Reason
from computepool.model.snapshot import Snapshot


def workload_findings(snapshot: Snapshot) -> Iterable[Finding]:
    """Yield at most one finding. A pool without pods is no fault: it may be scaled to zero."""
    selected, pool = snapshot.selection, snapshot.pool
    if selected is None:
        return
    resource = pool.spec.accelerator.resource_name
    if not selected.namespaces:
        yield Finding(
            Reason.NO_NAMESPACE_MATCHES,
            Severity.FAULT,
            "no namespace matches spec.workloads.namespaceSelector",
            mend=make_namespace(pool.spec.workloads.namespace_selector.compiled()),
        )
    elif not selected.pods:
        yield Finding(Reason.NO_PODS_MATCH, Severity.INFORMATION, "no pod matches spec.workloads now")
    elif selected.requested:
        mend = ""
        if len(selected.requested) == 1:
            command = merge_pool(pool.name, {"accelerator": {"resourceName": selected.requested[0]}})
            mend = f"If these are the pool's accelerators: {command}"
        yield Finding(
            Reason.ACCELERATOR_NOT_REQUESTED,
            Severity.NOTICE,
            f"pods match spec.workloads and none of them requests {resource}, but they request",
            names=selected.requested,
            mend=mend,
        )
    else:
        yield Finding(
            Reason.ACCELERATOR_NOT_REQUESTED,
            Severity.INFORMATION,
            f"pods match spec.workloads and none of them requests {resource}",
        )
