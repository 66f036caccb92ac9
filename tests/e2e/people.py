"""People with less than all rights, and their kubeconfigs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from e2e import kubeconfig
from e2e.site import Site

Json = dict[str, Any]


@contextmanager
def person(site: Site, folder: Path, name: str, binding: Json) -> Iterator[Path]:
    """The kubeconfig of somebody with this binding's role, and no other."""
    site.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})
    subject = {"kind": "ServiceAccount", "name": name, "namespace": site.namespace}
    api = "rbac.authorization.k8s.io"
    made = {
        **binding,
        "apiVersion": f"{api}/v1",
        "metadata": {"name": f"{site.namespace}-{name}"},
        "subjects": [subject],
    }
    cluster_wide = binding["kind"] == "ClusterRoleBinding"
    site.api.create(made, None if cluster_wide else site.namespace)
    try:
        yield kubeconfig.write(
            folder / name,
            server=site.cluster.url,
            ca_file=site.cluster.ca_file,
            token=site.api.token(name, site.namespace),
            namespace=site.namespace,
        )
    finally:
        plural = f"{binding['kind'].lower()}s.{api}"
        site.api.delete(plural, f"{site.namespace}-{name}", None if cluster_wide else site.namespace)


def role(name: str) -> Json:
    return {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
