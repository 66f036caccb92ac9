"""What the types refuse is what the API server refuses: the same manifests, the same fields."""

from __future__ import annotations

from pathlib import Path

import pytest

from computepool.model.api import ComputePool, InvalidPool
from tests.manifests import catalog


@pytest.mark.parametrize("manifest", [one for one in catalog.bad() if not one.server_only], ids=lambda one: one.name)
def test_a_bad_manifest_is_refused_with_the_path_of_its_field(manifest: catalog.BadManifest) -> None:
    with pytest.raises(InvalidPool) as refusal:
        ComputePool.from_object(catalog.load(manifest.path))
    assert refusal.value.path.startswith(manifest.field)
    assert str(refusal.value) == f"{refusal.value.path}: {refusal.value.problem}"


@pytest.mark.parametrize("manifest", [one for one in catalog.bad() if one.server_only], ids=lambda one: one.name)
def test_a_field_of_a_newer_version_is_ignored(manifest: catalog.BadManifest) -> None:
    assert ComputePool.from_object(catalog.load(manifest.path)).name == "inference"


@pytest.mark.parametrize("path", catalog.good(), ids=lambda path: path.stem)
def test_a_good_manifest_survives_the_round_trip(path: Path) -> None:
    pool = ComputePool.from_object(catalog.load(path))
    assert ComputePool.from_object(pool.to_object()) == pool


def test_there_are_bad_manifests_for_all_that_matters() -> None:
    assert len(catalog.bad()) >= 30
