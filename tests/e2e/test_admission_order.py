"""The order of the standbys holds at admission, on a real control plane.

The pool has the shape of docs/examples/eks.yaml: the preferred standby has room and maxAccelerators, so admission can't
list it, and the next standby is dearer.
"""

from __future__ import annotations

import pytest

from e2e import objects, pools
from e2e.admission import wait_admits
from e2e.scene import Json
from e2e.site import Site

pytestmark = pytest.mark.usefixtures("operator")

CHEAP, DEAR = "nebius", "partner"
NEW = "app=new"


@pytest.fixture
def full(site: Site) -> Site:
    """A site whose primary is taken. On the cheap standby 12 of 16 accelerators are free, and all 16 on the dear."""
    site.add_taken_node("aws", gpus=2)
    site.add_nodes(CHEAP, 2, gpus=8, taint=True)
    site.add_nodes(DEAR, 2, gpus=8, taint=True)
    tolerated = [objects.provider_toleration(CHEAP)]
    site.create(*objects.gpu_pods("old", 4, labels={"app": "old"}, tolerations=tolerated))
    site.wait_bound(4, labels="app=old")
    return site


def _providers(site: Site) -> list[Json | str]:
    cheap = pools.provider(site, CHEAP, pricePerAcceleratorHour="2.95", capacity={"maxAccelerators": 64})
    return [
        pools.provider(site, "aws", pricePerAcceleratorHour="12.29"),
        cheap,
        pools.provider(site, DEAR, pricePerAcceleratorHour="3.40"),
    ]


def _born_on(pods: list[Json], provider: str) -> list[str]:
    """The pods that have a provider's toleration without an offer: from their creation on."""
    wanted = objects.provider_toleration(provider)
    return [
        pod["metadata"]["name"]
        for pod in pods
        if wanted in pod["spec"].get("tolerations", []) and pools.OFFERS not in pod["metadata"].get("annotations", {})
    ]


def test_no_pod_is_born_on_a_dearer_standby_while_a_bounded_standby_has_room(full: Site) -> None:
    with pools.pool(full, _providers(full), admission={"mode": "WhenSaturated"}) as pool:
        name = pool["metadata"]["name"]
        held = pools.wait_status(full.api, name, lambda now: _held(now), "admission held by the cheap standby")
        assert held["heldBy"] == CHEAP
        assert "maxAccelerators" in held["message"]
        for batch in range(3):
            full.create(*objects.gpu_pods(f"new-{batch}", 4, labels={"app": "new"}))
            bound = full.wait_bound(4 * (batch + 1), labels=NEW)
            assert full.providers_of(bound) == {CHEAP: len(bound)}
            assert _born_on(bound, DEAR) == []
        # The cheap standby is full: now the dear standby is listed.
        wait_admits(full, DEAR)
        full.create(*objects.gpu_pods("more", 2, labels={"app": "more"}))
        more = full.wait_bound(2, labels="app=more")
        assert full.providers_of(more) == {DEAR: 2}
        assert len(_born_on(more, DEAR)) == 2
        # A place becomes free there: it comes first again.
        full.api.delete("pods", "old-0", full.namespace, grace_seconds=0)
        pools.wait_status(full.api, name, lambda now: _held(now), "admission to close again")
        decided = full.api.get(pools.POOLS, name)["status"]["lastDecision"]
        assert (decided["action"], decided["reason"]) == ("CloseAdmission", "PreferredStandbyFirst")


def _held(status: Json) -> Json | None:
    admission = dict(status.get("admission", {}))
    return admission if admission.get("heldBy") and not admission.get("tolerations") else None
