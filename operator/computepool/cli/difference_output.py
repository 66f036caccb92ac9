"""What `diff` prints: for people, or as JSON or YAML for programs."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from computepool.cli.console import make_table, print_data, print_table
from computepool.cli.options import Output
from computepool.cli.plan_difference import (
    Action,
    Change,
    Difference,
    NodesMoved,
    PodDecision,
    PodsDiffer,
    PoolDifference,
    merged,
)
from computepool.model.api import UNAVAILABLE_KEY
from computepool.model.reasons import Reason
from computepool.model.text import cut
from computepool.report.formatting import NAMED_PODS, counted, listed

MAX_ROWS: Final = 20
"""Rows of a list, unless all are asked for: more hide what matters."""
_NAMED_NODES: Final = 5
_MAX_VALUE: Final = 200
"""Characters of a field's value: a new provider is a whole object."""
_GENERATED: Final = frozenset({"ReplicaSet", "Job", "DaemonSet", "StatefulSet", "ReplicationController"})
"""Kinds of owners that name their pods by their own name, a hyphen and a suffix."""


def print_difference(found: Difference, notes: Sequence[str], output: Output, console: Console, *, every: bool) -> None:
    """Print a difference in the form that the user asks for. `every`: each pod, in place of groups and few rows."""
    if output is Output.TABLE:
        _print_text(found, notes, console, every=every)
    else:
        print_data(as_json(found, notes), output, console)


# --- for programs


def as_json(found: Difference, notes: Sequence[str]) -> dict[str, Any]:
    """Return the difference for programs. The names of the fields are documented in docs/commands.md."""
    return {
        "differs": bool(found),
        "decidesDifferently": found.decides,
        "pools": [_pool_json(pool) for pool in found.pools],
        "pods": [
            {
                "namespace": pod.namespace,
                "name": pod.name,
                "node": pod.node,
                "today": _decision_json(group.today),
                "then": _decision_json(group.then),
            }
            for group in found.pods
            for pod in group.pods
        ],
        "quarantine": [{"node": node.about, "today": node.today, "then": node.then} for node in found.quarantine],
        "notes": list(notes),
    }


def _pool_json(pool: PoolDifference) -> dict[str, Any]:
    return {
        "name": pool.name,
        "new": pool.is_new,
        "spec": [{"field": field.field, "today": field.before, "then": field.after} for field in pool.spec],
        "facts": [{"about": fact.about, "today": fact.today, "then": fact.then} for fact in pool.facts],
        "nodes": [{"today": moved.today, "then": moved.then, "names": list(moved.nodes)} for moved in pool.nodes],
        "newFindings": list(pool.new_findings),
        "goneFindings": list(pool.gone_findings),
    }


def _decision_json(decision: PodDecision) -> dict[str, Any]:
    return {
        "action": str(decision.action),
        "pool": decision.pool,
        "provider": decision.provider,
        "target": decision.target,
        "reason": "" if decision.reason is None else str(decision.reason),
        "onlyReported": decision.observed,
    }


# --- for people


def _print_text(found: Difference, notes: Sequence[str], console: Console, *, every: bool) -> None:
    for pool in found.pools:
        _print_pool(pool, console)
    _print_taints(found.quarantine, console, every=every)
    _print_pods(found, console, every=every)
    for note in notes:
        console.print(f"Note: {note}")
    if found.decides:
        console.print("Decided from one read of the cluster. Nothing was changed.")
    elif found:
        console.print("The spec differs, and nothing would be decided differently now. Nothing was changed.")
    else:
        console.print("No difference: the spec is the same, and nothing would be decided differently now.")


def _print_pool(pool: PoolDifference, console: Console) -> None:
    console.print(Text.assemble((f"Pool {pool.name}", "bold"), " (new)" if pool.is_new else ""))
    for field in pool.spec:
        console.print(f"  {field.field}: {_value(field.before)} -> {_value(field.after)}", soft_wrap=True)
    for fact in pool.facts:
        today = "" if pool.is_new else f"{fact.today or 'none'} -> "
        console.print(f"  {fact.about}: {today}{fact.then or 'none'}", soft_wrap=True)
    # The number of nodes of a new pool's providers is among the facts.
    for moved in () if pool.is_new else pool.nodes:
        console.print(f"  {_moved_nodes(moved)}", soft_wrap=True)
    for sign, findings, style in (("+", pool.new_findings, "yellow"), ("-", pool.gone_findings, "green")):
        for finding in findings:
            console.print(f"  {sign} {finding}", style=style, soft_wrap=True)
    console.print()


def _value(value: Any) -> str:
    return "not set" if value is None else cut(json.dumps(value) if not isinstance(value, str) else value, _MAX_VALUE)


def _moved_nodes(moved: NodesMoved) -> str:
    today, then = moved.today or "no provider", moved.then or "no provider"
    return f"{counted(len(moved.nodes), 'node')}: {today} -> {then}: {listed(moved.nodes, _NAMED_NODES)}"


def _print_taints(changes: Sequence[Change], console: Console, *, every: bool) -> None:
    if not changes:
        return
    console.print(Text("Taints of nodes", style="bold"))
    nodes: dict[tuple[str, str], list[str]] = {}
    for change in changes:
        nodes.setdefault((change.today, change.then), []).append(change.about)
    for ways, names in sorted(nodes.items()):
        today, then = (f"{UNAVAILABLE_KEY}={value}" if value else "none" for value in ways)
        shown = listed(names, len(names) if every else _NAMED_NODES)
        console.print(f"  {counted(len(names), 'node')}: {today} -> {then}: {shown}", soft_wrap=True)
    console.print()


def _print_pods(found: Difference, console: Console, *, every: bool) -> None:
    if not found.pods:
        return
    number = sum(len(group.pods) for group in found.pods)
    console.print(Text(f"{counted(number, 'pod')} decided differently", style="bold"))
    with_pool = len({decision.pool for group in found.pods for decision in (group.today, group.then)}) > 1
    table = make_table("Pods", "Today", "Then")
    groups = [part for group in found.pods for part in _single(group)] if every else _few(found.pods)
    for group in groups:
        table.add_row(_which(group), _words(group.today, with_pool), _words(group.then, with_pool))
    print_table(table, console, sentences=True)
    rest = number - sum(len(group.pods) for group in groups)
    if number > len(groups):
        more = f"And {counted(rest, 'pod')} more. " if rest else ""
        console.print(f" {more}With --all each pod has a line.")
    console.print()
    for reason in _reasons(groups):
        console.print(Text.assemble((str(reason), "bold"), f": {reason.help}"))
    console.print()


def _few(groups: Sequence[PodsDiffer]) -> Sequence[PodsDiffer]:
    """Return at most MAX_ROWS groups. Where there are more, controllers are not told apart."""
    return groups if len(groups) <= MAX_ROWS else merged(groups)[:MAX_ROWS]


def _single(group: PodsDiffer) -> Iterable[PodsDiffer]:
    return (PodsDiffer(group.today, group.then, (pod,)) for pod in group.pods)


def _reasons(groups: Sequence[PodsDiffer]) -> Sequence[Reason]:
    """Return the reasons of the decisions then, sorted."""
    return sorted({group.then.reason for group in groups if group.then.reason is not None})


def _which(group: PodsDiffer) -> str:
    """Say which pods these are: `40 of ReplicaSet ml/chat-5b8d`."""
    first, pods = group.pods[0], group.pods
    if len(pods) == 1:
        return f"{first.namespace}/{first.name}"
    owner, _, suffix = first.name.rpartition("-")
    same = len({(pod.namespace, pod.owner) for pod in pods}) == 1
    if same and first.owner_kind in _GENERATED and owner and suffix:
        return f"{len(pods)} of {first.owner_kind} {first.namespace}/{owner}"
    return f"{len(pods)}: {listed([f'{pod.namespace}/{pod.name}' for pod in pods], NAMED_PODS)}"


def _words(decision: PodDecision, with_pool: bool) -> str:
    """Write a decision in a few words, with its reason."""
    if decision.action is Action.NOTHING:
        return "in no pool"
    text = _ACTIONS[decision.action](decision)
    if decision.observed:
        text = f"only reported: {text}"
    reason = "" if decision.reason is None else f" ({decision.reason})"
    return f"{f'pool {decision.pool}: ' if with_pool else ''}{text}{reason}"


_ACTIONS: Final = {
    Action.SEND: lambda decision: f"sent to {decision.target}",
    Action.WAIT: lambda decision: f"waits for {decision.target}" if decision.target else "waits",
    Action.MOVE: lambda decision: (
        f"moved to another node of {decision.target}"
        if decision.provider == decision.target
        else f"moved from {decision.provider} to {decision.target}"
    ),
    Action.BLOCKED: lambda decision: f"stays on {decision.provider or 'its node'} for now",
    Action.STAY: lambda decision: f"runs on {decision.provider or 'a node of no provider'}",
}
