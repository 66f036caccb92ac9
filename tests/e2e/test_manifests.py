"""The real API server and the CRD: what it refuses and with which words, what it fills in, what kubectl shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from pydantic import ValidationError

from computepool.model.api import API_VERSION, GROUP, KIND, PLURAL, ComputePool, PoolSpec
from e2e import objects
from e2e.cluster import REPOSITORY, Cluster
from e2e.errors import CommandError
from e2e.kubeapi import ApiError
from tests.manifests import catalog, strategies
from tools import crd

CRD_FILE = REPOSITORY / "crds" / "computepool.io_computepools.yaml"
CRDS = "customresourcedefinitions.apiextensions.k8s.io"
POOLS = f"{PLURAL}.{GROUP}"


@pytest.fixture(scope="module")
def api_server(cluster: Cluster) -> Iterator[Cluster]:
    """The shared cluster with the CRD, which is taken away again if it was not there before."""
    there = cluster.api.find(CRDS, crd.NAME) is not None
    if not there:
        cluster.kubectl("apply", "-f", str(CRD_FILE))
    try:
        # `kubectl wait` would fail while the definition has no condition at all.
        cluster.api.wait_for(CRDS, _is_established, name=crd.NAME, what="the definition to be established")
        yield cluster
    finally:
        if not there:
            cluster.kubectl("delete", "-f", str(CRD_FILE))


def _is_established(found: list[dict[str, Any]]) -> bool:
    return bool(found) and objects.condition_of(found[0], "Established") == "True"


@pytest.fixture
def pool(api_server: Cluster) -> Iterator[dict[str, Any]]:
    """A pool that exists for one test."""
    created = api_server.api.create(catalog.load(catalog.good()[0]))
    yield created
    api_server.api.delete(POOLS, created["metadata"]["name"])


@pytest.mark.parametrize("manifest", catalog.bad(), ids=lambda one: one.name)
def test_a_bad_manifest_is_refused_with_the_field_and_what_to_change(
    api_server: Cluster, manifest: catalog.BadManifest
) -> None:
    with pytest.raises(CommandError) as refusal:
        api_server.kubectl("apply", "--dry-run=server", "-f", str(manifest.path))
    lines = refusal.value.stderr.splitlines()
    assert [line for line in lines if manifest.field in line and manifest.says in line], refusal.value.stderr


@pytest.mark.parametrize("path", catalog.good(), ids=lambda path: path.stem)
def test_a_good_manifest_is_accepted_and_its_defaults_are_those_of_the_types(api_server: Cluster, path: Path) -> None:
    api_server.kubectl("apply", "-f", str(path))
    written = catalog.load(path)
    try:
        served = api_server.api.get(POOLS, written["metadata"]["name"])
    finally:
        api_server.kubectl("delete", "-f", str(path))
    expected = ComputePool.from_object(written).spec
    assert ComputePool.from_object(served).spec == expected
    assert _pruned(served["spec"]) == _pruned(expected.to_object()), "nothing is left for the reader to guess"


def test_the_schema_says_the_same_as_the_types_about_any_spec(api_server: Cluster) -> None:
    """The rules are written twice, in CEL and in Python: here they must agree, spec by spec."""
    path = api_server.api.resource(POOLS).path(None)
    verdicts = []

    @settings(max_examples=250, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)
    @given(strategies.specs())
    def agree(spec: strategies.Spec) -> None:
        manifest = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "any"}, "spec": spec}
        server = _refusal(lambda: api_server.api.request("POST", path, manifest, query={"dryRun": "All"}))
        types = _refusal(lambda: PoolSpec.model_validate(spec))
        assert (server is None) == (types is None), f"the API server: {server or 'fine'}; the types: {types or 'fine'}"
        verdicts.append(server is None)

    agree()
    assert min(verdicts.count(True), verdicts.count(False)) >= 25, "both kinds must be seen for this to mean something"


def test_get_shows_the_state_at_a_glance(api_server: Cluster, pool: dict[str, Any]) -> None:
    since = {"status": "True", "message": "", "lastTransitionTime": "2026-11-23T05:00:00Z"}
    status = {
        "primary": "aws",
        "conditions": [
            {"type": "Saturated", "reason": "PodsOverflow", **since},
            {"type": "Degraded", "reason": "ProviderSilent", **since},
        ],
        "burstPods": 12,
        "pending": {"pods": 3, "accelerators": 24},
        "costPerHour": "35.40",
    }
    api_server.api.patch(POOLS, pool["metadata"]["name"], {"status": status}, subresource="status")
    heading, row = api_server.kubectl("get", "cpool", pool["metadata"]["name"]).splitlines()
    assert heading.split() == ["NAME", "MODE", "PRIMARY", "SATURATED", "BURSTING", "PENDING", "HEALTH", "COST/H", "AGE"]
    shown = [pool["metadata"]["name"], pool["spec"]["mode"], "aws", "True", "12", "3", "ProviderSilent", "35.40"]
    assert row.split()[:8] == shown


def test_the_status_is_written_apart_from_the_spec(api_server: Cluster, pool: dict[str, Any]) -> None:
    name = pool["metadata"]["name"]
    written = api_server.api.patch(POOLS, name, {"status": {"primary": "aws"}, "spec": {"mode": "Observe"}})
    assert "status" not in written
    assert written["spec"]["mode"] == "Observe"


def test_a_condition_of_a_type_is_there_once(api_server: Cluster, pool: dict[str, Any]) -> None:
    one = {"type": "Ready", "status": "True", "reason": "Kept", "lastTransitionTime": "2026-11-23T05:00:00Z"}
    with pytest.raises(ApiError, match=r"status.conditions\[1\]: Duplicate value"):
        api_server.api.patch(
            POOLS, pool["metadata"]["name"], {"status": {"conditions": [one, one]}}, subresource="status"
        )


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("cpool.spec.saturation", "When the primary counts as saturated"),
        ("cpool.spec.saturation.pendingSeconds", "Seconds after which a waiting pod"),
        ("cpool.spec.providers.tolerations", "computepool.io/provider=<name>:NoSchedule"),
        ("cpool.status.admission", "admission policy"),
    ],
)
def test_explain_tells_what_a_field_is_for(api_server: Cluster, path: str, says: str) -> None:
    assert says in " ".join(api_server.kubectl("explain", path).split())


def _refusal(attempt: Callable[[], object]) -> str | None:
    try:
        attempt()
    except (ApiError, ValidationError) as refusal:
        return str(refusal)
    return None


def _pruned(value: Any) -> Any:
    """The value without empty lists, maps and texts, which mean the same as being left out."""
    if isinstance(value, dict):
        return {key: inner for key, one in value.items() if (inner := _pruned(one)) not in ({}, [], "")}
    return [_pruned(one) for one in value] if isinstance(value, list) else value
