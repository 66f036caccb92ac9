"""`computepool diff -f pool.yaml`: what would be decided differently, now, with other manifests.

It reads the cluster once and decides twice by `reconcile`: with the pools as they are, and with the pools of the
files. All pools are decided both times, because they share pods and nodes: the oldest pool keeps a pod.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec
from rich.console import Console

from computepool.assess.signals.definitions import definitions_of
from computepool.cli.cluster_view import View, load_view
from computepool.cli.decided_outcome import outcome_of
from computepool.cli.difference_output import print_difference
from computepool.cli.manifests import read_manifests
from computepool.cli.options import Output
from computepool.cli.plan_difference import Difference, PodName, difference
from computepool.cli.recorded_state import signals_in, state_in
from computepool.cli.spec_changes import spec_changes
from computepool.model.api import KIND, ComputePool, ForecastMode, Mode, ObjectMeta
from computepool.model.signals import SignalData
from computepool.model.state import PoolState, Recorded, restarted


class Request(msgspec.Struct, frozen=True):
    """What the user asks for."""

    kubeconfig: str | None
    context: str | None
    operator_namespace: str
    files: tuple[str, ...]
    """Names of files; `-` is standard input."""
    output: Output
    every: bool = False
    """Whether every pod is printed."""


async def run(request: Request, console: Console) -> bool:
    """Print the difference on the console; return whether there is any.

    Raises AccessError, ApiError, ManifestError, MissingRightsError and FailedDecisionError.
    """
    manifests = read_manifests(request.files)
    view = await load_view(request.kubeconfig, request.context, request.operator_namespace)
    before = dict(view.store.pools)
    found = compare(view, manifests.pools)
    notes = (*manifests.left_out, *_notes(view, before, manifests.pools))
    print_difference(found, notes, request.output, console, every=request.every)
    return bool(found)


def compare(view: View, manifests: Sequence[ComputePool]) -> Difference:
    """Return what would be decided differently with these pools. The view has them afterwards.

    Raises FailedDecisionError.
    """
    store, before = view.store, dict(view.store.pools)
    for name, pool in before.items():
        store.put_signals(name, signals_in(pool))
    states = {name: state_in(store.snapshot(name)) for name in before}
    today = outcome_of(view, states)
    for manifest in manifests:
        stored = before.get(manifest.name)
        store.put_pool(_applied(manifest, stored, view.now), 0.0)
        if stored is None:
            states[manifest.name] = restarted(Recorded())
        else:
            states[stored.name] = _with_definitions(states[stored.name], stored)
            store.put_signals(stored.name, dict(_signals_kept(stored, manifest)))
    then = outcome_of(view, states)
    names = {pod.uid: PodName(pod.namespace, pod.name, pod.node, pod.owner, pod.owner_kind) for pod in store.pods()}
    specs = {
        manifest.name: spec_changes(before[manifest.name].spec, manifest.spec)
        for manifest in manifests
        if manifest.name in before
    }
    return difference(today, then, names, specs)


def _applied(manifest: ComputePool, stored: ComputePool | None, now: float) -> ComputePool:
    """Return the pool as it is once the manifest is applied. A new pool is the youngest of all."""
    if stored is not None:
        return stored.model_copy(update={"spec": manifest.spec})
    created = ObjectMeta(name=manifest.name, creation_timestamp=datetime.fromtimestamp(now, UTC))
    return manifest.model_copy(update={"metadata": created})


def _with_definitions(state: PoolState, pool: ComputePool) -> PoolState:
    """Return a state by which a pass notices which signals were edited: these begin anew."""
    memory = msgspec.structs.replace(state.memory, signal_definitions=definitions_of(pool))
    return PoolState(state.recorded, memory)


def _signals_kept(pool: ComputePool, manifest: ComputePool) -> Iterable[tuple[str, SignalData]]:
    """Yield the operator's verdicts on the signals that the manifest leaves as they are."""
    edited = _edited_signals(pool, manifest)
    for key, data in signals_in(pool).items():
        if "/".join(key.split("/")[:2]) not in edited:
            yield key, data


def _edited_signals(pool: ComputePool, manifest: ComputePool) -> frozenset[str]:
    """Return the signals, such as `saturation/queue`, that are new or have another meaning."""
    before = definitions_of(pool)
    return frozenset(key for key, text in definitions_of(manifest).items() if before.get(key) != text)


# --- notes


def _notes(view: View, before: Mapping[str, ComputePool], manifests: Sequence[ComputePool]) -> Iterable[str]:
    """Yield sentences about what the comparison can't know."""
    for name in view.unread_pools:
        yield f"This version can't read {KIND} {name} as it is in the cluster, so today nothing is decided for it."
    for manifest in manifests:
        yield from _notes_on(before.get(manifest.name), manifest)


def _notes_on(pool: ComputePool | None, manifest: ComputePool) -> Iterable[str]:
    name, spec = manifest.name, manifest.spec
    if spec.mode is Mode.OBSERVE:
        yield f"Pool {name} would be in mode Observe: the operator reports these decisions and does nothing."
    edited = sorted(definitions_of(manifest) if pool is None else _edited_signals(pool, manifest))
    if edited:
        yield (
            f"The signals {', '.join(edited)} are new or edited, so they count as Unknown here. The operator's verdict "
            "follows once the source of metrics has answered: `computepool signals` runs the query of an applied pool."
        )
    acts = [found.spec.forecast.mode is ForecastMode.ACT for found in (pool, manifest) if found is not None]
    if any(acts) and (pool is None or pool.spec.forecast != spec.forecast):
        yield "The forecast is not part of this: the operator alone has the history of the demand."
