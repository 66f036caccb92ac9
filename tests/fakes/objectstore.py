"""Objects with the API server's versions: one counter for all resources, a history to watch, conflicts, compaction."""

from __future__ import annotations

import copy
import itertools
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

JsonObject = dict[str, Any]
Key = tuple[str, str]
"""Namespace (empty for cluster-scoped objects) and name."""

CREATED_AT = "2026-01-01T00:00:00Z"


class RefusedError(Exception):
    """The API server's no, as it goes into the answer's Status."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(status, reason, message)
        self.status = status
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the history. `item` of a deletion is the last state with the deletion's own version."""

    version: int
    type: Literal["ADDED", "MODIFIED", "DELETED"]
    item: JsonObject
    before: JsonObject | None


@dataclass(frozen=True, slots=True)
class Backup:
    """What `ObjectStore.backup` saved, versions included."""

    version: int
    collections: dict[str, dict[Key, JsonObject]]


class ObjectStore:
    """All objects by collection, such as "/api/v1/pods". Stored objects are never changed in place."""

    def __init__(self) -> None:
        self.version = 1
        self.compacted = 0
        self.listeners: list[Callable[[str, Change], None]] = []
        self._collections: dict[str, dict[Key, JsonObject]] = {}
        self._history: dict[str, list[Change]] = {}
        self._uids = itertools.count(1)
        self._suffixes = itertools.count(1)

    def items(self, collection: str, namespace: str = "") -> list[JsonObject]:
        """Objects of a collection, in the order of their keys, as the API server lists them."""
        held = self._collections.get(collection, {})
        return [item for key, item in sorted(held.items()) if not namespace or key[0] == namespace]

    def get(self, collection: str, key: Key) -> JsonObject:
        """Raises RefusedError 404."""
        try:
            return self._collections[collection][key]
        except KeyError:
            raise RefusedError(404, "NotFound", f"{_plural(collection)} {key[1]!r} not found") from None

    def changes(self, collection: str, since: int) -> list[Change]:
        """Changes after the version `since`. Raises RefusedError 410 where that is compacted."""
        if since < self.compacted:
            raise RefusedError(410, "Expired", f"too old resource version: {since} ({self.compacted})")
        return [change for change in self._history.get(collection, []) if change.version > since]

    def create(self, collection: str, item: JsonObject, namespace: str = "") -> JsonObject:
        """Raises RefusedError 409 AlreadyExists."""
        item = copy.deepcopy(item)
        meta = item.setdefault("metadata", {})
        if namespace:
            meta["namespace"] = namespace
        if not meta.get("name"):
            meta["name"] = f"{meta['generateName']}{next(self._suffixes):05x}"
        key = (meta.get("namespace", ""), meta["name"])
        if key in self._collections.get(collection, {}):
            raise RefusedError(409, "AlreadyExists", f"{_plural(collection)} {key[1]!r} already exists")
        meta.setdefault("uid", str(uuid.UUID(int=next(self._uids))))
        meta.setdefault("creationTimestamp", CREATED_AT)
        meta.setdefault("generation", 1)
        return self._commit(collection, key, "ADDED", item)

    def replace(self, collection: str, key: Key, item: JsonObject) -> JsonObject:
        """Store a new state. Raises RefusedError 404, and 409 where it names another version or uid than the present.

        As in the API server, a state equal to the present one changes nothing: no new version, no event.
        """
        before = self.get(collection, key)
        item = copy.deepcopy(item)
        meta, held = item.setdefault("metadata", {}), before["metadata"]
        for precondition in ("resourceVersion", "uid"):
            if meta.get(precondition, held[precondition]) != held[precondition]:
                raise RefusedError(
                    409,
                    "Conflict",
                    f"{key[1]!r}: the object has been modified; please apply your changes to the latest",
                )
        for kept in ("uid", "creationTimestamp", "generation", "resourceVersion", "name", "namespace"):
            if kept in held:
                meta[kept] = held[kept]
        if item == before:
            return before
        if item.get("spec") != before.get("spec"):
            meta["generation"] = held["generation"] + 1
        return self._commit(collection, key, "MODIFIED", item, before)

    def delete(self, collection: str, key: Key, preconditions: JsonObject | None = None) -> JsonObject:
        """Raises RefusedError 404, and 409 where a precondition (uid, resourceVersion) does not hold."""
        before = self.get(collection, key)
        for name, value in (preconditions or {}).items():
            if before["metadata"][name] != value:
                raise RefusedError(409, "Conflict", f"Precondition failed: {name} in precondition: {value}")
        return self._commit(collection, key, "DELETED", copy.deepcopy(before), before)

    def compact(self) -> None:
        """Forget the history: watches from any version before the present one are answered with 410."""
        self.compacted = self.version
        self._history.clear()

    def backup(self) -> Backup:
        """Save the present state."""
        return Backup(self.version, {name: dict(held) for name, held in self._collections.items()})

    def restore(self, backup: Backup) -> None:
        """Go back in time: the versions count on from the backup's, and the history is gone."""
        self.version = self.compacted = backup.version
        self._collections = {name: dict(held) for name, held in backup.collections.items()}
        self._history.clear()

    def _commit(
        self,
        collection: str,
        key: Key,
        kind: Literal["ADDED", "MODIFIED", "DELETED"],
        item: JsonObject,
        before: JsonObject | None = None,
    ) -> JsonObject:
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        held = self._collections.setdefault(collection, {})
        if kind == "DELETED":
            del held[key]
        else:
            held[key] = item
        change = Change(self.version, kind, item, before)
        self._history.setdefault(collection, []).append(change)
        for listener in self.listeners:
            listener(collection, change)
        return item


def _plural(collection: str) -> str:
    return collection.rsplit("/", 1)[-1]
