"""What is planned of pods in a drill."""

from __future__ import annotations

from computepool.simulate.drill import Fate
from tests.builders import pod


def fate(name: str, owner: str, *, stays: bool = False) -> Fate:
    """A pod on a1 that leaves after a second, or stays."""
    found = pod(name, on="a1", owner=owner, owner_kind="ReplicaSet", ready=True)
    return Fate(found, 1, moved_at=1.0, ready_at=None if stays else 2.0)
