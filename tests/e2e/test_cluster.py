"""The shared cluster does what the other end-to-end tests rely on."""

from __future__ import annotations

from e2e import objects
from e2e.site import Site


def test_pods_beyond_the_primary_wait_until_they_tolerate_the_standby(site: Site) -> None:
    site.add_nodes("aws", 1, gpus=4)
    site.add_nodes("nebius", 1, gpus=4, taint=True)
    site.create(*objects.gpu_pods("p", 6))
    site.wait_bound(4)
    waiting = site.wait_unschedulable(2)
    for pod in waiting:
        toleration = [{"op": "add", "path": "/spec/tolerations/-", "value": objects.provider_toleration("nebius")}]
        site.api.patch("pods", pod["metadata"]["name"], toleration, site.namespace, how="json")
    assert site.providers_of(site.wait_bound(6)) == {"aws": 4, "nebius": 2}
