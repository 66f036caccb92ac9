"""The options that several commands have. Light to import: `--help` needs them."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from computepool.cli.names import checked_name, checked_namespace, no_namespace

DEFAULT_NAMESPACE: Final = "computepool-system"
DEFAULT_LEASE: Final = "computepool"
MOUNTED_CONFIG: Final = Path("/etc/computepool/prometheus/prometheus.yaml")
"""Where the chart mounts the configuration of the source of metrics."""


class LogFormat(StrEnum):
    """Format of the log lines."""

    JSON = "json"
    CONSOLE = "console"


class LogLevel(StrEnum):
    """Least severe level that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Output(StrEnum):
    """Form of what a command prints."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


class AuditOutput(StrEnum):
    """Form of what an audit prints."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    CSV = "csv"
    MARKDOWN = "markdown"
    HTML = "html"


class FailOn(StrEnum):
    """What lets an audit fail."""

    STRANDED = "stranded"
    CHECKS = "checks"
    UNREAD = "unread"


class DrillFailOn(StrEnum):
    """What lets a dry run of a drill fail."""

    STRANDED = "stranded"


NEEDS_AUDIT: Final = "list nodes and pods in the whole cluster"
Kubeconfig = Annotated[
    str | None,
    typer.Option("--kubeconfig", help="Path to a kubeconfig; default: $KUBECONFIG, ~/.kube/config or the pod's own."),
]
Context = Annotated[
    str | None, typer.Option("--context", help="Name of a context of the kubeconfig; default: its current context.")
]
_OPERATOR_HELP: Final = "Namespace of the operator itself: its pods are never managed, and it has the Lease."
OperatorNamespace = Annotated[
    str,
    typer.Option(
        "--operator-namespace",
        "--namespace",
        "-n",
        envvar="POD_NAMESPACE",
        callback=checked_namespace,
        help=_OPERATOR_HELP,
    ),
]
"""For commands whose objects belong to no namespace: there kubectl's flag can mean only the operator's namespace."""
OperatorNamespaceBesidePod = Annotated[
    str,
    typer.Option("--operator-namespace", envvar="POD_NAMESPACE", callback=checked_namespace, help=_OPERATOR_HELP),
]
"""For commands whose flag --namespace is about a pod."""
Manifests = Annotated[
    list[str],
    typer.Option(
        "--filename",
        "-f",
        help="File with ComputePools, as for kubectl apply: YAML or JSON. - is standard input. May be given several "
        "times.",
    ),
]
NoNamespace = Annotated[str | None, typer.Option("--namespace", "-n", callback=no_namespace, hidden=True)]
"""kubectl's flag, which is refused with a sentence."""
LeaseName = Annotated[
    str, typer.Option(callback=checked_name, help="Name of the Lease that replicas elect a leader with.")
]
OutputForm = Annotated[
    Output, typer.Option("--output", "-o", help="table for people; json and yaml for programs: see docs/commands.md.")
]
