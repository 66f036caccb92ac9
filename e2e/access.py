"""Access to a running cluster, whoever started it: addresses, credentials, kubectl, helm, and a JSON client."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from e2e import binaries, kubeconfig, roster, state, versions
from e2e.components import Layout
from e2e.errors import CommandError
from e2e.kubeapi import KubeApi


class Access:
    """A running cluster, seen as its administrator."""

    def __init__(self, name: str, layout: Layout, binary_paths: Mapping[str, Path], admin_token: str) -> None:
        """See a cluster that runs already; Cluster starts one, `attach` finds one by name."""
        self.name = name
        self.version = versions.KUBERNETES
        self.layout = layout
        self.admin_token = admin_token
        self.url = layout.url
        self.ca_file = layout.pki / "ca.crt"
        self.kubeconfig = layout.kubeconfig
        self.api = KubeApi(self.url, admin_token, self.ca_file)
        self._binaries = binary_paths

    def kubectl(self, *arguments: str, input: str | None = None, check: bool = True) -> str:  # noqa: A002
        """Run kubectl as administrator and return its standard output.

        Raises CommandError where it fails, unless `check` is False; then standard error follows the output.
        """
        return self._run("kubectl", arguments, input, check)

    def helm(self, *arguments: str, check: bool = True) -> str:
        """Run Helm as administrator and return its standard output. Errors as for kubectl."""
        return self._run("helm", arguments, None, check)

    def kubeconfig_for(self, service_account: str, namespace: str) -> Path:
        """Write a kubeconfig with a ServiceAccount's own token, as a pod of it would have.

        Waits for the account: a namespace's `default` is made moments after the namespace.
        """
        return kubeconfig.write(
            self.layout.folder / f"kubeconfig-{namespace}-{service_account}",
            server=self.url,
            ca_file=self.ca_file,
            token=self._token(service_account, namespace),
            namespace=namespace,
        )

    def api_for(self, service_account: str, namespace: str) -> KubeApi:
        """A client with a ServiceAccount's rights. Waits for the account, as above."""
        return KubeApi(self.url, self._token(service_account, namespace), self.ca_file)

    def _token(self, service_account: str, namespace: str) -> str:
        what = f"ServiceAccount {namespace}/{service_account}"
        self.api.wait_for("serviceaccounts", bool, namespace, name=service_account, what=what)
        return self.api.token(service_account, namespace)

    def command_env(self) -> dict[str, str]:
        """The environment in which kubectl, helm or the operator talk to this cluster, and to nobody's own."""
        home = self.layout.folder / "home"
        helm = {f"HELM_{kind}_HOME": str(home / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
        # A COLUMNS that Python's readline has set here would make them wrap their lines.
        own = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
        return own | helm | {"KUBECONFIG": str(self.kubeconfig)}

    def _run(self, tool: str, arguments: tuple[str, ...], given: str | None, check: bool) -> str:
        ran = subprocess.run(
            [self._binaries[tool], *arguments],
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            text=True,
            env=self.command_env(),
            check=False,
        )
        if not check:
            return ran.stdout + ran.stderr
        if ran.returncode:
            raise CommandError(f"{tool} {' '.join(arguments)}", ran.returncode, ran.stdout, ran.stderr)
        return ran.stdout


def attach(name: str) -> Access:
    """Use a cluster that another process started. Raises ClusterError where none of that name runs."""
    folder = roster.folder_of(name)
    layout = Layout(folder, tuple(state.read_record(folder).ports))
    return Access(name, layout, binaries.find_all(), layout.tokens.read_text().split(",")[0])
