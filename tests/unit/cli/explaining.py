"""Clusters for the tests of `computepool explain`, and what it prints."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.fakes.apiserver import PODS, FakeApiServer
from tests.unit.act.objects import pod
from tests.unit.app.cluster import full, make_pool
from tests.unit.cli.serving import shell

SIGNALS = "computepool.io/signals"


MOVABLE = {"computepool.io/movable": "true"}


def stamp(seconds_ago: float) -> str:
    """A moment so long ago."""
    return datetime.fromtimestamp(time.time() - seconds_ago, UTC).isoformat().replace("+00:00", "Z")


def toleration(to: str) -> dict[str, str]:
    return {"key": "computepool.io/provider", "operator": "Equal", "value": to, "effect": "NoSchedule"}


def explained(folder: Path, name: str, before: Callable[[FakeApiServer], object], *words: str) -> str:
    with shell(folder, before) as sh:
        return sh.prints("explain", name, *words)


def full_with_pool(server: FakeApiServer) -> None:
    full(server)
    make_pool(server)


def cluster(**how: Any) -> Callable[[FakeApiServer], None]:
    """A full primary, two standbys, a pool of the three, and one pod named web, made as it is said."""

    of_pool = how.pop("pool", {})

    def before(server: FakeApiServer) -> None:
        full(server, policy=True)
        make_pool(server, **of_pool)
        server.create(PODS, pod("web", **how))

    return before


def rows(text: str) -> list[list[str]]:
    """The table's providers and verdicts."""
    lines = text.splitlines()
    start = next(index for index, line in enumerate(lines) if line.split()[:2] == ["Provider", "Verdict"])
    found = []
    for line in lines[start + 1 :]:
        if not line.strip():
            break
        # Long meanings go on in lines without a provider.
        if not line.startswith("  "):
            found.append(line.split()[:2])
    return found
