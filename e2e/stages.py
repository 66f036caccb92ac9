"""How kwok's nodes and pods behave: kwok Stages, and the label and annotations by which one object behaves otherwise.

A Stage says: an object that looks like this becomes, after that delay, like that. Delays are reckoned from a moment
written in the object (its creation, its binding, its start), since kwok starts its own count anew whenever anybody
changes the object. Those moments have whole seconds only, so one second is added: a delay is never too short.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

# kwok renews the Lease and plays the kubelet of nodes that carry this label, and of no others. Taking it off a node is
# a kubelet that dies: its Lease goes stale and the pods on it are left as they are. Putting it back revives it.
KUBELET_LABEL = "e2e.computepool.io/kubelet"
KUBELET_ALIVE = "alive"

# On a node: whole seconds from creation to Ready.
NODE_READY_AFTER = "e2e.computepool.io/node-ready-after"
# On a node: its kubelet lives and says Ready=False, with the annotation's value as reason.
NODE_NOT_READY = "e2e.computepool.io/node-not-ready"
# On a pod: whole seconds from being bound to Ready.
POD_READY_AFTER = "e2e.computepool.io/pod-ready-after"
# On a pod: it fails as soon as it is bound, with the annotation's value as reason.
POD_FAILS = "e2e.computepool.io/pod-fails"
# On a Job's pod: whole seconds from its start to success; 1 where nothing is said.
POD_RUNS = "e2e.computepool.io/pod-runs"
# On a pod: whole seconds that it stays Terminating.
POD_TERMINATES_FOR = "e2e.computepool.io/pod-terminates-for"

Json = dict[str, Any]


def write(path: Path) -> Path:
    """Write the Stages as the one file that kwok's --config takes."""
    path.write_text(yaml.safe_dump_all(all_stages(), sort_keys=False))
    return path


def all_stages() -> list[Json]:
    """Every Stage. At most one matches an object at a time: kwok would choose among several by chance."""
    return [
        _stage("node-ready", "Node", _NODE_READY_WHEN, _patch(_NODE_READY), _since_creation(NODE_READY_AFTER)),
        _stage("node-not-ready", "Node", _NODE_NOT_READY_WHEN, _patch(_NODE_IS_NOT_READY)),
        # As often as a kubelet whose status does not change; it is the Lease that tells whether the node lives.
        _stage(
            "node-heartbeat", "Node", _NODE_HEARTBEAT_WHEN, _patch(_NODE_HEARTBEAT), {"durationMilliseconds": 300_000}
        ),
        _stage("pod-ready", "Pod", _POD_READY_WHEN, _patch(_POD_READY), _since_bound(POD_READY_AFTER)),
        # The node controller marks pods as not ready on a node that it takes for not ready. It may see a node late, and
        # so mark a pod on a node that has just become ready. A kubelet mends that, and so does kwok here.
        _stage(
            "pod-ready-again", "Pod", _POD_READY_AGAIN_WHEN, _patch(_POD_READY_AGAIN), {"durationMilliseconds": 1000}
        ),
        _stage("pod-fails", "Pod", _POD_FAILS_WHEN, _patch(_POD_FAILED)),
        _stage("pod-completes", "Pod", _POD_COMPLETES_WHEN, _patch(_POD_SUCCEEDED), _since_start(POD_RUNS, default=1)),
        _stage("pod-deleted", "Pod", _POD_DELETED_WHEN, {"delete": True}, _from_now(POD_TERMINATES_FOR)),
    ]


def _stage(name: str, kind: str, when: list[Json], step: Json, delay: Json | None = None) -> Json:
    spec: Json = {
        "resourceRef": {"apiGroup": "v1", "kind": kind},
        "selector": {"matchExpressions": [{"jq": expression} for expression in when]},
        "steps": [step],
    }
    if delay is not None:
        spec["delay"] = delay
    return {"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "Stage", "metadata": {"name": name}, "spec": spec}


def _patch(template: str) -> Json:
    return {"patch": {"subresource": "status", "root": "status", "template": template}}


# -- when ----------------------------------------------------------------------------------------------------------


def _is(key: str, *values: str) -> Json:
    return {"key": key, "operator": "In", "values": list(values)}


def _is_not(key: str, *values: str) -> Json:
    return {"key": key, "operator": "NotIn", "values": list(values)}


def _has(key: str) -> Json:
    return {"key": key, "operator": "Exists"}


def _lacks(key: str) -> Json:
    return {"key": key, "operator": "DoesNotExist"}


def _annotation(name: str) -> str:
    return f'.metadata.annotations["{name}"]'


_READY = '.status.conditions.[] | select(.type == "Ready") | .status'
_CONTAINERS_READY = '.status.conditions.[] | select(.type == "ContainersReady") | .status'
_DELETED = ".metadata.deletionTimestamp"
_PHASE = ".status.phase"
_OWNER = ".metadata.ownerReferences.[].kind"

_NODE_READY_WHEN = [_is_not(_READY, "True"), _lacks(_annotation(NODE_NOT_READY))]
_NODE_NOT_READY_WHEN = [_is_not(_READY, "False"), _has(_annotation(NODE_NOT_READY))]
_NODE_HEARTBEAT_WHEN = [_is(_READY, "True"), _lacks(_annotation(NODE_NOT_READY))]
_POD_READY_WHEN = [_lacks(_DELETED), _is(_PHASE, "Pending"), _lacks(_annotation(POD_FAILS))]
_POD_READY_AGAIN_WHEN = [
    _lacks(_DELETED),
    _is(_PHASE, "Running"),
    _is(_CONTAINERS_READY, "True"),
    _is(_READY, "False"),
]
_POD_FAILS_WHEN = [_lacks(_DELETED), _is(_PHASE, "Pending"), _has(_annotation(POD_FAILS))]
_POD_COMPLETES_WHEN = [_lacks(_DELETED), _is(_PHASE, "Running"), _is(_READY, "True"), _is(_OWNER, "Job")]
_POD_DELETED_WHEN = [_has(_DELETED)]

# -- after how long ------------------------------------------------------------------------------------------------


def _moment_plus(moment: str, annotation: str, default: int | None) -> Json:
    """A delay that ends at a moment of the object plus an annotation's seconds; at once where there is neither."""
    seconds = f"({_annotation(annotation)} // {'empty' if default is None else default} | tonumber)"
    return {
        "durationFrom": {
            "jq": {"expression": f"{seconds} as $s | ({moment}) | fromdateiso8601 + $s + 1 | todateiso8601"}
        }
    }


def _since_creation(annotation: str) -> Json:
    return _moment_plus(".metadata.creationTimestamp", annotation, None)


def _since_bound(annotation: str) -> Json:
    bound = '[.status.conditions[]? | select(.type == "PodScheduled") | .lastTransitionTime, empty]'
    return _moment_plus(f"({bound} + [.metadata.creationTimestamp])[0]", annotation, None)


def _since_start(annotation: str, default: int) -> Json:
    return _moment_plus(".status.startTime", annotation, default)


def _from_now(annotation: str) -> Json:
    return {"durationFrom": {"jq": {"expression": f'{_annotation(annotation)} // empty | . + "s"'}}}


# -- becomes what --------------------------------------------------------------------------------------------------


def _node_conditions(status: str, reason: str, message: str) -> str:
    return f"""
conditions:
- type: Ready
  status: "{status}"
  reason: {reason}
  message: {message}
  lastHeartbeatTime: {{{{ Now | Quote }}}}
  lastTransitionTime: {{{{ Now | Quote }}}}
{{{{ range list "MemoryPressure" "DiskPressure" "PIDPressure" }}}}
- type: {{{{ . }}}}
  status: "False"
  reason: KubeletHasNoPressure
  message: kwok has all it needs
  lastHeartbeatTime: {{{{ Now | Quote }}}}
{{{{ end }}}}
"""


_NODE_READY = (
    _node_conditions("True", "KubeletReady", "kwok is posting ready status")
    + """
addresses:
- type: Hostname
  address: {{ .metadata.name | Quote }}
nodeInfo:
  architecture: amd64
  bootID: ""
  containerRuntimeVersion: kwok
  kernelVersion: kwok
  kubeProxyVersion: ""
  kubeletVersion: kwok
  machineID: ""
  operatingSystem: linux
  osImage: kwok
  systemUUID: ""
"""
)

_NODE_IS_NOT_READY = _node_conditions(
    "False", f'{{{{ index .metadata.annotations "{NODE_NOT_READY}" | Quote }}}}', "told to be not ready"
)

_NODE_HEARTBEAT = """
conditions:
{{ range .status.conditions }}
- type: {{ .type }}
  status: {{ .status | Quote }}
  lastHeartbeatTime: {{ Now | Quote }}
{{ end }}
"""


def _container_statuses(runs: str, state: str) -> str:
    return f"""containerStatuses:
{{{{ range .spec.containers }}}}
- name: {{{{ .name }}}}
  image: {{{{ .image | Quote }}}}
  imageID: ""
  ready: {runs}
  started: {runs}
  restartCount: 0
  state: {{{state}}}
{{{{ end }}}}
"""


_POD_READY = """
phase: Running
startTime: {{ Now | Quote }}
conditions:
{{ range list "PodReadyToStartContainers" "Initialized" "ContainersReady" "Ready" }}
- type: {{ . }}
  status: "True"
  lastTransitionTime: {{ Now | Quote }}
{{ end }}
{{ range .spec.readinessGates }}
- type: {{ .conditionType }}
  status: "True"
  lastTransitionTime: {{ Now | Quote }}
{{ end }}
{{ $ip := PodIPWith .spec.nodeName false (or .metadata.uid "") .metadata.name .metadata.namespace }}
podIP: {{ $ip | Quote }}
podIPs:
- ip: {{ $ip | Quote }}
{{ with .spec.initContainers }}
initContainerStatuses:
{{ range . }}
- name: {{ .name }}
  image: {{ .image | Quote }}
  imageID: ""
  ready: true
  restartCount: 0
  {{ if eq (or .restartPolicy "") "Always" }}
  started: true
  state: {running: {startedAt: {{ Now | Quote }}}}
  {{ else }}
  state: {terminated: {exitCode: 0, reason: Completed, startedAt: {{ Now | Quote }}, finishedAt: {{ Now | Quote }}}}
  {{ end }}
{{ end }}
{{ end }}
""" + _container_statuses("true", "running: {startedAt: {{ Now | Quote }}}")

_POD_READY_AGAIN = """
conditions:
- type: Ready
  status: "True"
  lastTransitionTime: {{ Now | Quote }}
"""

_POD_FAILED = f"""
phase: Failed
startTime: {{{{ Now | Quote }}}}
reason: {{{{ index .metadata.annotations "{POD_FAILS}" | Quote }}}}
message: told to fail
"""

_POD_SUCCEEDED = """
phase: Succeeded
conditions:
{{ range list "ContainersReady" "Ready" }}
- type: {{ . }}
  status: "False"
  reason: PodCompleted
  lastTransitionTime: {{ Now | Quote }}
{{ end }}
""" + _container_statuses("false", "terminated: {exitCode: 0, reason: Completed, finishedAt: {{ Now | Quote }}}")
