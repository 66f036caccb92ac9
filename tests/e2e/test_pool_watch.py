"""kopf ends on a real API server, and the operator process lives on."""

from __future__ import annotations

from e2e import objects, pools
from e2e.operator import OperatorProcess
from e2e.site import Site

DEFINITIONS = "customresourcedefinitions.apiextensions.k8s.io"


def test_the_operator_survives_that_its_definition_is_deleted_and_created_again(
    own_operator: OperatorProcess, site: Site
) -> None:
    site.add_taken_node("aws", gpus=4)
    site.add_nodes("nebius", count=1, gpus=8, taint=True)
    definition = site.api.get(DEFINITIONS, pools.POOLS)
    kept = {name: definition["metadata"][name] for name in ("name", "labels", "annotations")}
    with pools.pool(site, ("aws", "nebius")):
        own_operator.wait_logged("pool taken in", pool=site.namespace)
        site.api.delete(DEFINITIONS, pools.POOLS)
        own_operator.wait_logged("kopf ended, starting it anew")
        own_operator.wait_logged("pool gone", pool=site.namespace)
        site.api.wait_for(DEFINITIONS, lambda found: not found, name=pools.POOLS, what="no definition")
        site.api.create({**definition, "metadata": kept, "status": None})
        own_operator.wait_ready()
    with pools.pool(site, ("aws", "nebius")):
        site.create(*objects.gpu_pods("new", 2, labels={"app": "new"}))
        site.wait_bound(2, labels="app=new")
    assert own_operator.leading
    assert own_operator.terminate() == 0
