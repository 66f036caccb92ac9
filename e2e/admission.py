"""Whether the API server lets new pods onto a standby, by the chart's admission policy."""

from __future__ import annotations

from e2e import chart, objects
from e2e.site import Site


def wait_admits(site: Site, provider_name: str) -> None:
    """Wait until the API server itself lets new pods onto a standby: it learns of the policy and the status later."""
    chart.until(lambda: _admits(site, provider_name), f"the API server to admit pods to {provider_name}")


def _admits(site: Site, provider_name: str) -> bool:
    path = f"/api/v1/namespaces/{site.namespace}/pods?dryRun=All"
    answer = site.api.request("POST", path, objects.gpu_pod("probe"))
    return objects.provider_toleration(provider_name) in answer["spec"].get("tolerations", [])
