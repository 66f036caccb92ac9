"""What end-to-end tests share: one cluster for all of them, and a site of its own for each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from e2e.cluster import Cluster
from e2e.site import Site


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The control plane that all tests share. It fails, and says what to run, where the binaries are missing."""
    with Cluster() as shared:
        yield shared


@pytest.fixture
def site(cluster: Cluster) -> Iterator[Site]:
    """A namespace and nodes of the test's own, gone when it ends."""
    own = Site(cluster)
    try:
        yield own
    finally:
        own.close()
