"""kubectl commands that mend a finding, as texts.

A command is complete, so that a person can copy it. A word in capitals, such as NODE, stands for a name that only the
person knows.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from computepool.model.labels import Requirement, Selector
from computepool.model.taints import Taint, Toleration
from computepool.model.well_known_keys import NAMESPACE_NAME_LABEL

NAMED_IN_COMMAND: Final = 5
"""How many nodes a command names. A command for more nodes selects them by the provider's labels."""


def taint_nodes(names: Sequence[str], selector: Selector | None, *changes: str) -> str:
    """Return the command that changes taints of nodes.

    `selector`: the labels of the nodes' provider; None if they select nodes of another provider too.
    """
    if len(names) <= NAMED_IN_COMMAND or selector is None:
        nodes = " ".join(names[:NAMED_IN_COMMAND])
    else:
        nodes = f"--selector {quoted(selector_text(selector))}"
    overwrite = "" if all(change.endswith("-") for change in changes) else " --overwrite"
    return f"`kubectl taint nodes {nodes} {' '.join(changes)}{overwrite}`"


def remove_taint(taint: Taint) -> str:
    """Return what makes `kubectl taint` remove a taint."""
    return f"{taint.key}:{taint.effect}-"


def add_label(kind: str, placeholder: str, selector: Selector) -> str:
    """Say how an object gets the labels of a selector, or which command shows all labels.

    `kind`: in the plural, as in `nodes`; `placeholder`: stands for the object's name. No object matches the selector.
    The command overwrites no label that matches, and none that the cluster itself sets, such as the name of a host.
    """
    needs = selector.requirements
    exact = all(need.operator == "In" and len(need.values) == 1 for need in needs)
    sole = len(needs) == 1 and needs[0].operator in ("In", "Exists")
    if not needs or not (exact or sole) or any(_is_kubernetes_own(need.key) for need in needs):
        return f"Look at the labels: `kubectl get {kind} --show-labels`"
    labels = " ".join(map(_label, needs))
    return f"If the selector is right: `kubectl label {kind} {placeholder} {labels} --overwrite`"


def make_namespace(selector: Selector) -> str:
    """Return the command after which a namespace matches the selector, or the command that shows all labels."""
    needs = selector.requirements
    if len(needs) == 1 and needs[0].key == NAMESPACE_NAME_LABEL and needs[0].operator == "In":
        return f"`kubectl create namespace {needs[0].values[0]}`"
    return add_label("namespaces", "NAMESPACE", selector)


def merge_pool(pool: str, spec: Mapping[str, Any]) -> str:
    """Return the command that merges these fields into the pool's spec."""
    return f"`kubectl patch computepool {pool} --type merge -p '{_json({'spec': spec})}'`"


def set_in_pool(pool: str, path: str, value: Any) -> str:
    """Return the command that sets one field of the pool's spec. `path`: such as /providers/1/tolerations."""
    patch = [{"op": "add", "path": f"/spec{path}", "value": value}]
    return f"`kubectl patch computepool {pool} --type json -p '{_json(patch)}'`"


def tolerate_in_daemon_set(key: str) -> str:
    """Return the command that lets a DaemonSet's pods onto nodes with a taint of this key.

    No patch can add to a list that may be there or not, and keep what is in it.
    """
    added = _json([{"key": key, "operator": "Exists"}])
    return (
        "`kubectl get daemonset DAEMONSET --namespace NAMESPACE --output json | "
        f"jq '.spec.template.spec.tolerations += {added}' | kubectl replace --filename -`"
    )


def toleration_of(taint: Taint) -> Mapping[str, str]:
    """Return the entry of spec.providers[].tolerations for a taint."""
    entry = {"key": taint.key, "operator": "Equal", "value": taint.value, "effect": taint.effect}
    return {name: text for name, text in entry.items() if text or name != "value"}


def written(toleration: Toleration) -> Mapping[str, str]:
    """Return a provider's toleration as its entry in the manifest."""
    entry = {
        "key": toleration.key,
        "operator": toleration.operator or "Equal",
        "value": toleration.value,
        "effect": toleration.effect,
    }
    return {name: text for name, text in entry.items() if text}


def selector_text(selector: Selector) -> str:
    """Return a selector as kubectl takes it: `a=b,c in (x,y),!d`."""
    return ",".join(map(_requirement, selector.requirements))


def quoted(text: str) -> str:
    """Quote a word of a command where a shell would split or read it."""
    return f"'{text}'" if any(char in " ()!" for char in text) else text


def _requirement(need: Requirement) -> str:
    values = f"({','.join(need.values)})"
    match need.operator:
        case "In":
            return f"{need.key}={need.values[0]}" if len(need.values) == 1 else f"{need.key} in {values}"
        case "NotIn":
            return f"{need.key} notin {values}"
        case "Exists":
            return need.key
        case _:
            return f"!{need.key}"


def _label(need: Requirement) -> str:
    return f"{need.key}={need.values[0] if need.values else ''}"


def _is_kubernetes_own(key: str) -> bool:
    domain = f".{key.rpartition('/')[0]}"
    return domain.endswith((".kubernetes.io", ".k8s.io"))


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
