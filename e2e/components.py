"""The processes a cluster consists of: their flags, and the address that tells when each is ready."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from e2e.stages import KUBELET_ALIVE, KUBELET_LABEL

ETCD = "etcd"
APISERVER = "kube-apiserver"
SCHEDULER = "kube-scheduler"
CONTROLLER_MANAGER = "kube-controller-manager"
KWOK = "kwok"

# In the order they start; they end in the opposite one.
ALL = (ETCD, APISERVER, CONTROLLER_MANAGER, SCHEDULER, KWOK)

# How many ports of its own a cluster needs: one per component, and etcd's second for its peers.
PORTS = len(ALL) + 1


class ComponentSpec(msgspec.Struct, frozen=True):
    """One process: what to run, where its output goes, and the URL that answers 200 once it is ready."""

    name: str
    argv: list[str]
    log: str
    health: str
    env: dict[str, str] = {}


@dataclass(frozen=True)
class Options:
    """What a test or a benchmark may want different from the defaults."""

    # Flags per component, appended last, so that they win: {"kube-controller-manager": ["--node-monitor-period=1s"]}.
    extra_flags: Mapping[str, list[str]] = field(default_factory=dict)
    # Raises what the API server takes at once and switches its queueing off, so that a benchmark measures its subject.
    benchmark: bool = False
    # Seconds that a kwok node's Lease lasts; it is renewed four times as often. 40 is a kubelet's own default.
    node_lease_seconds: int = 40


QUICK_UNKNOWN: Mapping[str, list[str]] = {
    CONTROLLER_MANAGER: ["--node-monitor-period=500ms", "--node-monitor-grace-period=4s"]
}
"""Flags by which the node controller gives up on a silent node within seconds; kubelets must be as quick, see
`Options.node_lease_seconds`."""


@dataclass(frozen=True)
class Layout:
    """Where a cluster's files and ports are."""

    folder: Path
    ports: tuple[int, ...]

    @property
    def logs(self) -> Path:
        """Each component's output: `<component>.log`."""
        return self.folder / "logs"

    @property
    def pki(self) -> Path:
        """The certificates and keys."""
        return self.folder / "pki"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.folder / "kubeconfig"

    @property
    def tokens(self) -> Path:
        """The API server's static tokens."""
        return self.pki / "tokens.csv"

    @property
    def stages(self) -> Path:
        """kwok's configuration."""
        return self.folder / "stages.yaml"

    @property
    def url(self) -> str:
        """The API server's address."""
        return f"https://127.0.0.1:{self.port(APISERVER)}"

    def port(self, component: str) -> int:
        """The port a component serves on."""
        return self.ports[ALL.index(component)]

    @property
    def peer_port(self) -> int:
        """The port that etcd keeps for other members, of which there are none."""
        return self.ports[len(ALL)]


def specs(layout: Layout, binaries: Mapping[str, Path], options: Options) -> list[ComponentSpec]:
    """All components of a cluster, in the order to start them."""
    flags = {
        ETCD: _etcd(layout),
        APISERVER: _apiserver(layout, options),
        CONTROLLER_MANAGER: _controller_manager(layout),
        SCHEDULER: _scheduler(layout),
        KWOK: _kwok(layout, options),
    }
    health = {
        ETCD: f"http://127.0.0.1:{layout.port(ETCD)}/readyz",
        APISERVER: f"{layout.url}/readyz",
        CONTROLLER_MANAGER: f"https://127.0.0.1:{layout.port(CONTROLLER_MANAGER)}/healthz",
        SCHEDULER: f"https://127.0.0.1:{layout.port(SCHEDULER)}/readyz",
        KWOK: f"http://127.0.0.1:{layout.port(KWOK)}/readyz",
    }
    return [
        ComponentSpec(
            name=name,
            argv=[str(binaries[name]), *flags[name], *options.extra_flags.get(name, [])],
            log=str(layout.logs / f"{name}.log"),
            health=health[name],
        )
        for name in ALL
    ]


def _etcd(layout: Layout) -> list[str]:
    client, peer = f"http://127.0.0.1:{layout.port(ETCD)}", f"http://127.0.0.1:{layout.peer_port}"
    return [
        f"--data-dir={layout.folder / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        # The data goes with the cluster: nothing has to survive a power cut, and tests don't wait for the disk.
        "--unsafe-no-fsync",
        # The only member need not wait a second for others to stand for election.
        "--heartbeat-interval=20",
        "--election-timeout=200",
        "--log-level=warn",
    ]


def _apiserver(layout: Layout, options: Options) -> list[str]:
    pki = layout.pki
    flags = [
        f"--etcd-servers=http://127.0.0.1:{layout.port(ETCD)}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={layout.port(APISERVER)}",
        f"--tls-cert-file={pki / 'apiserver.crt'}",
        f"--tls-private-key-file={pki / 'apiserver.key'}",
        f"--token-auth-file={layout.tokens}",
        "--authorization-mode=Node,RBAC",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={pki / 'service-account.key'}",
        f"--service-account-signing-key-file={pki / 'service-account.key'}",
        # Nothing answers on the "kubernetes" Service of a cluster without network.
        "--endpoint-reconciler-type=none",
        # A stopped server must not wait for the watches of those whom its stop is to be tested on.
        "--shutdown-delay-duration=0s",
    ]
    if options.benchmark:
        flags += [
            "--enable-priority-and-fairness=false",
            "--max-requests-inflight=4000",
            "--max-mutating-requests-inflight=2000",
        ]
    return flags


def _client_limits() -> list[str]:
    # With the default limits the scheduler binds about 60 pods a second and would be all that is measured.
    return ["--kube-api-qps=1000", "--kube-api-burst=2000", "--leader-elect=false"]


def _serving(layout: Layout, component: str) -> list[str]:
    return [
        "--bind-address=127.0.0.1",
        f"--secure-port={layout.port(component)}",
        f"--tls-cert-file={layout.pki / 'apiserver.crt'}",
        f"--tls-private-key-file={layout.pki / 'apiserver.key'}",
    ]


def _controller_manager(layout: Layout) -> list[str]:
    return [
        f"--kubeconfig={layout.kubeconfig}",
        *_serving(layout, CONTROLLER_MANAGER),
        *_client_limits(),
        f"--service-account-private-key-file={layout.pki / 'service-account.key'}",
        f"--root-ca-file={layout.pki / 'ca.crt'}",
    ]


def _scheduler(layout: Layout) -> list[str]:
    return [f"--kubeconfig={layout.kubeconfig}", *_serving(layout, SCHEDULER), *_client_limits()]


def _kwok(layout: Layout, options: Options) -> list[str]:
    return [
        f"--kubeconfig={layout.kubeconfig}",
        f"--config={layout.stages}",
        f"--manage-nodes-with-label-selector={KUBELET_LABEL}={KUBELET_ALIVE}",
        f"--node-lease-duration-seconds={options.node_lease_seconds}",
        f"--server-address=127.0.0.1:{layout.port(KWOK)}",
        "--cidr=10.128.0.0/9",
    ]
