"""The ways to name a pod on the command line."""

from typing import Final

from computepool.cli.names import is_name, is_namespace

FORMS: Final = "Give NAME, NAMESPACE/NAME, pod/NAME or NAMESPACE/pod/NAME, and --namespace where it is not in the name"
_POD_KINDS: Final = frozenset({"pod", "pods", "po"})
_OTHER_KINDS: Final = {
    "deploy": "Deployment",
    "deployment": "Deployment",
    "deployments": "Deployment",
    "rs": "ReplicaSet",
    "replicaset": "ReplicaSet",
    "replicasets": "ReplicaSet",
    "sts": "StatefulSet",
    "statefulset": "StatefulSet",
    "statefulsets": "StatefulSet",
    "ds": "DaemonSet",
    "daemonset": "DaemonSet",
    "daemonsets": "DaemonSet",
    "job": "Job",
    "jobs": "Job",
    "node": "Node",
    "nodes": "Node",
    "cpool": "ComputePool",
    "computepool": "ComputePool",
    "computepools": "ComputePool",
}
"""Kinds that people try, as kubectl writes them. A namespace of such a name is given by --namespace."""


class PodReferenceError(ValueError):
    """A text that names no pod; the message says why, and which forms work."""


def parse_reference(text: str, namespace: str | None = None) -> tuple[str | None, str]:
    """Return the namespace and the name of a pod. `namespace`: from --namespace.

    The namespace is None where nothing names it. Raises PodReferenceError.
    """
    parts = text.split("/")
    if len(parts) == 3 and parts[1] in _POD_KINDS:
        where, name = parts[0], parts[2]
    elif len(parts) == 2 and parts[0] in _POD_KINDS:
        where, name = None, parts[1]
    elif len(parts) == 2:
        where, name = parts[0], parts[1]
        _refuse_other_kind(where, text)
    elif len(parts) == 1:
        where, name = None, text
    else:
        raise PodReferenceError(f"{text!r} names no pod. {FORMS}")
    if not is_name(name) or (where is not None and not is_namespace(where)):
        raise PodReferenceError(f"{text!r} names no pod. {FORMS}")
    if where is not None and namespace is not None and where != namespace:
        raise PodReferenceError(f"{text!r} is in namespace {where}, and --namespace says {namespace}: give one of them")
    return where or namespace, name


def _refuse_other_kind(word: str, text: str) -> None:
    kind = _OTHER_KINDS.get(word.partition(".")[0].lower())
    if kind is not None:
        raise PodReferenceError(f"{text!r} names a {kind}, and explain is about a single pod. {FORMS}")
