"""Faults of the soak test that must cost no running pod: people and tools cause them, and every node works on."""

from __future__ import annotations

import itertools
import random
from contextlib import suppress
from typing import Any

from e2e import objects
from e2e.kubeapi import ApiError
from e2e.soak.world import ABSURD, BARE, CRASHING, FIRST, GPUS, NODES, SECOND, Fault, World, insist, nothing, short

Json = dict[str, Any]

POLICIES = "mutatingadmissionpolicies.admissionregistration.k8s.io"
BINDINGS = "mutatingadmissionpolicybindings.admissionregistration.k8s.io"
LABEL = "e2e.computepool.io/added"
STARTUP_TAINT = {"key": "node.cilium.io/agent-not-ready", "effect": "NoSchedule"}
AMOUNTS = ("1e400", "1e18", "9223372036854775807", "-1", "0.0001")
"""Amounts that no node has. The API server refuses some of them."""


class HarmlessFaults:
    """Makes such faults."""

    def __init__(self, world: World, rng: random.Random) -> None:
        """All chance comes from `rng`."""
        self._world = world
        self._rng = rng
        self._numbers = itertools.count()
        self.makers = [
            self.plugin_restart,
            self.kubelet_restart,
            self.crashing_workload,
            self.quota,
            self.startup_taint,
            self.mutating_policy,
            self.absurd_pod,
        ]

    def plugin_restart(self) -> Fault:
        """A device plugin is away: its node reports no devices, and the pods there run on."""
        names = self._node()

        def report(count: int) -> None:
            insist(lambda: self._world.site.set_devices(names, count))

        seconds = self._rng.uniform(3, 25)
        return Fault(f"device plugin restarts: {short(names)}", seconds, lambda: report(0), lambda: report(GPUS))

    def kubelet_restart(self) -> Fault:
        """A kubelet that comes back refuses up to three pods that have run on its node. The node works."""
        (name,) = self._node()

        def refuse() -> None:
            world = self._world
            running = [
                life for life in world.history.here() if life.node == name and life.is_ready and life.app != BARE
            ]
            for life in self._rng.sample(running, min(3, len(running))):
                status = {"status": {"phase": "Failed", "reason": "UnexpectedAdmissionError", "message": "restarted"}}
                # The pod may be gone by now.
                with suppress(ApiError):
                    world.api.patch("pods", life.name, status, world.site.namespace, subresource="status")

        return Fault(f"kubelet restarts: {short([name])}", 0, refuse, nothing)

    def crashing_workload(self) -> Fault:
        """A workload fails wherever it starts."""
        count = self._rng.randint(1, 3)
        return Fault(
            f"crashing workload: {count} pods",
            self._rng.uniform(2, 8),
            lambda: self._world.scale(CRASHING, count),
            lambda: self._world.scale(CRASHING, 0),
        )

    def quota(self) -> Fault:
        """No pod that requests an accelerator can be created."""
        name = f"quota-{next(self._numbers)}"
        hard = {f"requests.{objects.ACCELERATOR}": "0"}
        quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": {"hard": hard}}
        return Fault(
            "a quota of none",
            self._rng.uniform(5, 20),
            lambda: self._create(quota, self._world.site.namespace),
            lambda: self._delete("resourcequotas", name, self._world.site.namespace),
        )

    def startup_taint(self) -> Fault:
        """A node joins the primary with a startup taint, and is taken away again before that taint ends."""
        names: list[str] = []

        def join() -> None:
            site = self._world.site
            names.extend(insist(lambda: site.add_nodes(FIRST, 1, gpus=GPUS, taints=[STARTUP_TAINT], wait=False)))

        def leave() -> None:
            gone, names[:] = list(names), []
            insist(lambda: self._world.site.remove_nodes(gone))

        return Fault("a node with a startup taint", self._rng.uniform(5, 20), join, leave)

    def mutating_policy(self) -> Fault:
        """A policy sets a label on every pod that is created or changed."""
        name = f"added-{self._world.site.namespace}-{next(self._numbers)}"
        policy, binding = _labels_pods(name, self._world.site.namespace)

        def begin() -> None:
            self._create(policy)
            self._create(binding)

        def end() -> None:
            self._delete(BINDINGS, name)
            self._delete(POLICIES, name)

        return Fault("a mutating policy", self._rng.uniform(5, 25), begin, end)

    def absurd_pod(self) -> Fault:
        """A pod requests an amount that no node has, and names its node itself."""
        name, amount = f"absurd-{next(self._numbers)}", self._rng.choice(AMOUNTS)
        pod = objects.gpu_pod(name, labels={"app": ABSURD})
        pod["spec"]["containers"][0]["resources"] = {"limits": {objects.ACCELERATOR: amount}}
        if self._rng.random() < 0.5:
            pod["spec"]["nodeName"] = self._node()[0]
        return Fault(
            f"a pod that requests {amount}",
            self._rng.uniform(3, 15),
            lambda: self._create(pod, self._world.site.namespace),
            lambda: self._delete("pods", name, self._world.site.namespace),
        )

    def _node(self) -> list[str]:
        provider = self._rng.choice((FIRST, SECOND))
        return [self._world.nodes[provider][self._rng.randrange(NODES[provider])]]

    def _create(self, manifest: Json, namespace: str | None = None) -> None:
        def create() -> None:
            try:
                self._world.api.create(manifest, namespace)
            except ApiError as error:
                # The API server refuses some amounts, a quota refuses pods, and a repeated attempt may find the object.
                if error.status not in (400, 403, 409, 422):
                    raise

        insist(create)

    def _delete(self, kind: str, name: str, namespace: str | None = None) -> None:
        insist(lambda: self._world.api.delete(kind, name, namespace))


def _labels_pods(name: str, namespace: str) -> tuple[Json, Json]:
    """Return a policy that sets a label on the pods of a namespace, and its binding."""
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["pods"]}
    patch = f'Object{{metadata: Object.metadata{{labels: {{"{LABEL}": "yes"}}}}}}'
    policy = objects.admission(
        "MutatingAdmissionPolicy",
        name,
        {
            "matchConstraints": {"resourceRules": [rule]},
            "failurePolicy": "Ignore",
            "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": patch}}],
        },
    )
    where = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    binding = objects.admission("MutatingAdmissionPolicyBinding", name, {"policyName": name, "matchResources": where})
    return policy, binding
