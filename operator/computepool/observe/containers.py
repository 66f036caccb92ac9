"""Whether a pod's containers start, and whether they have run."""

from typing import Final

from computepool.kube.wire import ContainerStatus

_NOT_STARTING: Final = frozenset(
    ("CrashLoopBackOff", "RunContainerError", "CreateContainerError", "PreCreateHookError", "PreStartHookError")
)
"""Reasons why a container waits that was tried and did not start, or ends again and again. The kubelet writes the error
of its last attempt: pkg/kubelet/container/sync_result.go, pkg/kubelet/kuberuntime/kuberuntime_container.go. Errors that
the workload's author has to mend are left out: images, PostStartHookError, and CreateContainerConfigError (no such
ConfigMap or Secret)."""
START_ERRORS: Final = frozenset(("StartError", "ContainerCannotRun"))
"""Reasons why a container terminated without ever running, in the words of containerd and of Docker."""


def any_not_starting(containers: list[ContainerStatus] | None) -> bool:
    """Say whether any of the containers does not start, or ends again and again."""
    for container in containers or ():
        state = container.state
        if state is None:
            continue
        if state.waiting is not None and state.waiting.reason in _NOT_STARTING:
            return True
        if state.terminated is not None and state.terminated.reason in START_ERRORS:
            return True
    return False


_NEVER: Final = frozenset((None, "", "1970-01-01T00:00:00Z"))
"""startedAt of a container that never started: no time, or the epoch, which containerd gives for a StartError."""


def any_has_run(containers: list[ContainerStatus] | None) -> bool:
    """Say whether any of the containers runs, or has run before."""
    for container in containers or ():
        for state in (container.state, container.last_state):
            if state is None:
                continue
            if state.running is not None:
                return True
            if state.terminated is not None and state.terminated.started_at not in _NEVER:
                return True
    return False
