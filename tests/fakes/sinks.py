"""A sink that remembers what it was told, and objects to being told nonsense."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from computepool.observe.reflector import Resource


class Meta(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    uid: str
    resource_version: str
    namespace: str = ""
    labels: dict[str, str] = {}


class Thing(msgspec.Struct, frozen=True):
    """Any object, as far as tests look at it."""

    metadata: Meta

    @property
    def version(self) -> int:
        return int(self.metadata.resource_version)


def things(path: str, **query: str) -> Resource[Thing]:
    """Follow any resource by name."""
    return Resource(
        path=path,
        decode=msgspec.json.Decoder(Thing).decode,
        key=lambda thing: thing.metadata.name,
        version=lambda thing: thing.version,
        query=query,
    )


@dataclass(frozen=True, slots=True)
class Told:
    """One call of the sink; `version` is 0 where there is none."""

    what: Literal["start", "upsert", "delete", "finish"]
    key: str = ""
    version: int = 0
    at: float = 0.0


class RecordingSink:
    """Holds what it was told by key, and in order; breaking the sink's contract is an AssertionError."""

    def __init__(self) -> None:
        self.items: dict[str, Thing] = {}
        self.told: list[Told] = []
        self.syncing = False

    @property
    def versions(self) -> dict[str, int]:
        """The version held of each object: equal to the server's once all is quiet."""
        return {key: item.version for key, item in self.items.items()}

    @property
    def syncs(self) -> int:
        """How many complete lists were delivered."""
        return sum(1 for told in self.told if told.what == "finish")

    def of(self, key: str) -> list[str]:
        """What was told of one key, in order."""
        return [told.what for told in self.told if told.key == key]

    def sync_started(self, at: float) -> None:
        self.syncing = True
        self.told.append(Told("start", at=at))

    def upsert(self, key: str, item: Thing, at: float) -> None:
        held = self.items.get(key)
        assert self.syncing or held is None or held.version < item.version, f"{key}: {item} after {held}"
        self.items[key] = item
        self.told.append(Told("upsert", key, item.version, at))

    def delete(self, key: str, at: float) -> None:
        assert key in self.items, f"{key} was deleted, and never told of"
        del self.items[key]
        self.told.append(Told("delete", key, at=at))

    def sync_finished(self, at: float) -> None:
        assert self.syncing, "a list was finished that was not started"
        self.syncing = False
        self.told.append(Told("finish", at=at))
