"""The options that several commands have. Light to import: `--help` needs them."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from computepool.cli.names import checked_name, checked_namespace

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


Kubeconfig = Annotated[
    str | None,
    typer.Option("--kubeconfig", help="Path to a kubeconfig; default: $KUBECONFIG, ~/.kube/config or the pod's own."),
]
Context = Annotated[
    str | None, typer.Option("--context", help="Name of a context of the kubeconfig; default: its current context.")
]
OperatorNamespace = Annotated[
    str,
    typer.Option(
        callback=checked_namespace,
        help="Namespace of the operator itself: its pods are never managed, and it has the Lease.",
    ),
]
LeaseName = Annotated[
    str, typer.Option(callback=checked_name, help="Name of the Lease that replicas elect a leader with.")
]
OutputForm = Annotated[
    Output, typer.Option("--output", "-o", help="table for people; json and yaml for programs: see docs/commands.md.")
]
