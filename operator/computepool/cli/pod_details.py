"""What `explain` reads of a single pod beyond the records that decisions need: its gates, its phase, its marks."""

from collections.abc import Mapping
from typing import Final

import msgspec

from computepool.kube import paths, wire
from computepool.kube.client import ApiClient
from computepool.model.scheduling_gates import gate_owner

MIRROR_ANNOTATION: Final = "kubernetes.io/config.mirror"
"""The kubelet sets it on the copy of a static pod."""


class _Gate(wire.Wire):
    name: str


class _Owner(wire.Wire):
    kind: str = ""
    name: str = ""
    controller: bool | None = None


class _Meta(wire.Wire):
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: list[_Owner] | None = None


class _Spec(wire.Wire):
    node_name: str = ""
    scheduling_gates: list[_Gate] | None = None


class _Status(wire.Wire):
    phase: str = ""
    reason: str = ""
    message: str = ""


class PodDetails(wire.Wire):
    """A pod as the API server has it."""

    metadata: _Meta
    spec: _Spec
    status: _Status = msgspec.field(default_factory=_Status)

    @property
    def annotations(self) -> Mapping[str, str]:
        """Its annotations."""
        return self.metadata.annotations or {}

    @property
    def labels(self) -> Mapping[str, str]:
        """Its labels."""
        return self.metadata.labels or {}

    @property
    def owner(self) -> tuple[str, str] | None:
        """Kind and name of its controller; None without one."""
        owners = self.metadata.owner_references or ()
        return next(((owner.kind, owner.name) for owner in owners if owner.controller), None)

    @property
    def gates(self) -> tuple[str, ...]:
        """The names of its scheduling gates."""
        return tuple(gate.name for gate in self.spec.scheduling_gates or ())

    @property
    def is_static(self) -> bool:
        """Whether a kubelet made it from a file, so that nothing in the cluster can move it."""
        owner = self.owner
        return MIRROR_ANNOTATION in self.annotations or (owner is not None and owner[0] == "Node")


_DETAILS: Final = msgspec.json.Decoder(PodDetails)


async def read_pod(client: ApiClient, namespace: str, name: str) -> tuple[PodDetails, bytes] | None:
    """Read one pod; return its details and the object, or None if there is no such pod.

    It is listed, and not got, because `explain` needs the right to list pods anyway. Raises ApiError.
    """
    path = paths.pods(namespace)
    async for page in client.list_pages(path, {"fieldSelector": f"metadata.name={name}"}):
        for raw in page.items:
            return _DETAILS.decode(raw), bytes(raw)
    return None


def holder_of(gate: str) -> str:
    """Say who removes a scheduling gate, as far as its name tells."""
    domain, _, _ = gate.rpartition("/")
    return gate_owner(gate) or (f"the controller of {domain}" if domain else "the controller that has set it")
