"""What `explain` says about a pod, and how it is printed: for people, or as JSON or YAML for programs."""

from typing import Any

import msgspec
from rich.console import Console
from rich.text import Text

from computepool.cli.console import make_table, print_data, print_table
from computepool.cli.options import Output
from computepool.cli.verdicts import Row
from computepool.model.accelerators import devices_of
from computepool.model.cluster import Pod
from computepool.model.quantity import whole
from computepool.model.reasons import Reason


class Explanation(msgspec.Struct, frozen=True):
    """Why a pod runs where it runs, or why it waits."""

    headline: str
    reason: Reason | None = None
    rows: tuple[Row, ...] = ()
    """In the order of preference."""
    notes: tuple[str, ...] = ()
    pool: str = ""
    needs_all: bool = True
    """Whether a right that is missing may have hidden a part of it."""


def print_explanation(pod: Pod, explanation: Explanation, output: Output, console: Console) -> None:
    """Print an explanation in the form that the user asks for."""
    if output is Output.TABLE:
        _print_table(pod, explanation, console)
    else:
        print_data(as_json(pod, explanation), output, console)


def as_json(pod: Pod, explanation: Explanation) -> dict[str, Any]:
    """Return the same for programs. The names of the fields are documented in docs/commands.md."""
    return {
        "namespace": pod.namespace,
        "pod": pod.name,
        "pool": explanation.pool,
        "node": pod.node,
        "requests": {name: whole(amount) for name, amount in devices_of(pod.shape)},
        "priority": pod.priority,
        "headline": explanation.headline,
        "reason": "" if explanation.reason is None else str(explanation.reason),
        "message": "" if explanation.reason is None else explanation.reason.help,
        "providers": [
            {"name": name, "reason": str(reason), "message": meaning} for name, reason, meaning in explanation.rows
        ],
        "notes": list(explanation.notes),
    }


def _print_table(pod: Pod, explanation: Explanation, console: Console) -> None:
    requests = [f"{whole(amount)} {name}" for name, amount in devices_of(pod.shape)]
    details = [*requests, f"priority {pod.priority}", *([f"pool {explanation.pool}"] if explanation.pool else [])]
    console.print(Text.assemble((f"{pod.namespace}/{pod.name}", "bold"), "  ", "  ".join(details)))
    console.print(explanation.headline)
    if explanation.reason is not None:
        console.print(Text.assemble((str(explanation.reason), "bold"), f": {explanation.reason.help}"))
    if explanation.rows:
        table = make_table("Provider", "Verdict", "Meaning")
        for provider, verdict, meaning in explanation.rows:
            table.add_row(provider, str(verdict), meaning, style="green" if verdict is Reason.CHOSEN else "default")
        console.print()
        print_table(table, console)
    if explanation.notes:
        console.print()
    for note in explanation.notes:
        console.print(note)
