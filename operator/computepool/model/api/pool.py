"""The ComputePool itself, and how it is read from an object of the API server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from computepool.model.api.base import DNS_LABEL, ApiModel, Timestamp, fits, rule
from computepool.model.api.spec import PoolSpec
from computepool.model.api.status import PoolStatus

MAX_NAME = 51
"""Longest name of a pool: `computepool-<name>` names its admission binding and must still be a DNS label."""


class InvalidPool(ValueError):  # noqa: N818 - it is the pool that is invalid; "Error" would add nothing
    """An object that is not a valid ComputePool.

    `path` says where the problem is, such as `spec.providers[1].name`. `problem` says what is wrong there.
    """

    def __init__(self, path: str, problem: str) -> None:
        """State the problem at the path."""
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


class ObjectMeta(ApiModel):
    """The part of an object's metadata that the operator uses."""

    name: str
    """Name of the pool."""
    uid: str = ""
    """Distinguishes this object from an earlier object of the same name."""
    resource_version: str = ""
    """Changes with every write to the object."""
    generation: int = 0
    """Changes with every write to the spec."""
    creation_timestamp: Timestamp | None = None
    """When the object was created. If two pools select the same pod, the older pool keeps it."""
    deletion_timestamp: Timestamp | None = None
    """When deletion was requested; None if it was not."""


class ComputePool(ApiModel):
    """A ComputePool names GPU workloads, their providers in order of preference, and when to use which provider.

    While the first provider, the primary, has room, the operator changes nothing. When the primary runs out of room,
    pending pods are allowed onto the next provider.
    """

    metadata: ObjectMeta
    spec: PoolSpec
    status: PoolStatus = PoolStatus()

    @property
    def name(self) -> str:
        """Name of the pool."""
        return self.metadata.name

    @rule(
        field="metadata.name",
        cel=f"size(self.metadata.name) <= {MAX_NAME} && self.metadata.name.matches(r'{DNS_LABEL}')",
        message=f"a pool's name is used in labels and in the names of other objects: use up to {MAX_NAME} lower-case "
        "letters, digits and '-', starting and ending with a letter or digit",
        shows="self.metadata.name",
    )
    def _name_is_short_dns_label(self) -> bool:
        return len(self.name) <= MAX_NAME and fits(DNS_LABEL, self.name)

    @classmethod
    def from_object(cls, obj: Mapping[str, Any]) -> ComputePool:
        """Read a ComputePool as the API server serves it. Fields that this version does not know are ignored.

        A status that can't be read is ignored too: the operator owns it, and the next pass writes it anew.
        Raises InvalidPool with the first problem of metadata or spec.
        """
        try:
            status = PoolStatus.model_validate(obj.get("status") or {})
        except ValidationError:
            status = PoolStatus()
        try:
            return cls.model_validate({"metadata": obj.get("metadata"), "spec": obj.get("spec"), "status": status})
        except ValidationError as invalid:
            raise _first_problem(invalid) from invalid


def _first_problem(invalid: ValidationError) -> InvalidPool:
    first = invalid.errors(include_url=False)[0]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
    if field := first.get("ctx", {}).get("field"):
        path += f".{field}"
    return InvalidPool(path.removeprefix("."), first["msg"])
