"""Generates small clusters: providers, nodes in any state, and pods that run, wait or were sent to a standby."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from computepool.model.cluster import Node, Offer, Pod, RefusedOffer, Shape
from computepool.model.labels import Requirement
from computepool.model.snapshot import Snapshot
from computepool.model.state import PoolState, Saturation
from computepool.model.taints import Taint, Toleration
from tests.builders import NOW, node, pod, pool, pool_state, provider, shape, snapshot, term

PROVIDERS = ("aws", "nebius", "crusoe", "lambda")
TEAM_TAINT = Taint("team", "ml", "NoSchedule")
TEAM = Toleration("team", "Exists")

SHAPES: tuple[Shape, ...] = (
    shape(1),
    shape(2),
    shape(4),
    shape(8),
    shape(1, more={"cpu": 3}),
    shape(2, tolerations=[TEAM]),
    shape(1, selector={"zone": "a"}),
    shape(4, affinity=[term(Requirement("zone", "In", ("a", "b")))]),
    shape(2, selector={"computepool.io/provider": "aws"}),
    shape(2, selector={"computepool.io/provider": "nebius"}),
)


@dataclass(frozen=True)
class Case:
    """What a pass is given."""

    seen: Snapshot
    state: PoolState


def _weighted(*choices: tuple[int, Any]) -> st.SearchStrategy[Any]:
    return st.sampled_from([value for weight, value in choices for _ in range(weight)])


_NODE = st.tuples(
    st.sampled_from((1, 2, 4, 8)),
    _weighted((6, {}), (1, {"ready": "False"}), (1, {"ready": "Unknown"}), (1, {"cordoned": True})),
    _weighted((6, ()), (1, (TEAM_TAINT,)), (1, (Taint("soft", "", "PreferNoSchedule"),))),
    st.sampled_from(("a", "b", "c")),
    _weighted((4, 64), (1, 4)),
    st.lists(
        st.tuples(
            st.sampled_from((0, 1, 1, 2, 4)),
            _weighted((5, None), (1, NOW + 10), (1, NOW - 5), (1, NOW + 90)),
            _weighted((3, ""), (1, "nebius")),
        ),
        max_size=3,
    ),
)

_STANDBY = st.fixed_dictionaries(
    {
        "on_demand": _weighted((3, False), (1, True)),
        "max_accelerators": _weighted((3, None), (1, 1), (1, 4), (1, 8)),
        "price": st.sampled_from((None, "1", "2")),
    }
)

_SENDING = _weighted(
    (6, "no"), (2, "sent"), (1, "sent twice"), (1, "admitted"), (1, "flying"), (1, "label only"), (2, "refused")
)
_WAITING = st.tuples(
    st.sampled_from(SHAPES),
    st.sampled_from((0, 0, 1, 2)),
    st.sampled_from((70, 0, 3, 10, 700)),
    _weighted((12, {}), (1, {"gated": True}), (1, {"deleting": NOW + 5}), (1, {"nominated": "aws-0"})),
    _weighted((6, None), (1, ()), (1, ("nebius",)), (1, ("crusoe", "lambda"))),
    _SENDING,
    st.sampled_from(PROVIDERS[1:]),
    st.sampled_from((1, 59, 61, 700)),
    st.booleans(),
    _weighted((4, None), (1, 30), (1, 60), (1, 100)),
)


@st.composite
def cases(draw: st.DrawFn, *, waiting: int = 8) -> Case:
    """Anything that a pass may find; the view is current."""
    count = draw(st.integers(2, len(PROVIDERS)))
    standbys = [draw(_STANDBY) for _ in range(count - 1)]
    priced = any(standby["price"] for standby in standbys)
    of = pool(
        provider("aws", on_demand=draw(_weighted((5, False), (1, True)))),
        *(provider(name, **options) for name, options in zip(PROVIDERS[1:], standbys, strict=False)),
        placement=draw(st.sampled_from(("Ordered", "Cheapest") if priced else ("Ordered",))),
        pending=draw(st.sampled_from((0, 5))),
        admission=draw(st.sampled_from(("WhenSaturated", "Always", "Off"))),
        mode=draw(_weighted((4, "Enforce"), (1, "Observe"))),
    )
    nodes: list[Node] = []
    pods: list[Pod] = []
    for name in PROVIDERS[:count]:
        for index, made in enumerate(draw(st.lists(_NODE, min_size=1 if name == "aws" else 0, max_size=3))):
            built, bound = _node(f"{name}-{index}", name, *made)
            nodes.append(built)
            pods += bound
    fitting: dict[tuple[str, str], float] = {}
    flying: dict[str, Offer] = {}
    refused: dict[str, tuple[RefusedOffer, ...]] = {}
    for index, words in enumerate(draw(st.lists(_WAITING, min_size=2, max_size=waiting))):
        pods.append(_waiting(f"w{index}", words, flying, fitting))
        if words[5] == "refused":
            to, at, again = words[6], NOW - words[7] if words[8] else NOW - 0.1, words[8]
            refused[pods[-1].uid] = (RefusedOffer(to, at, at + (60 if again else 1), "no", 1 + again),)
            if not again:
                # After a first refusal the offer stays under way.
                flying[pods[-1].uid] = Offer(to, at)
    foreign = [
        _waiting(f"f{index}", words, flying, {})
        for index, words in enumerate(draw(st.lists(_WAITING, max_size=2)))
        if words[5] in ("sent", "flying")
    ]
    saturated = draw(st.sampled_from((None, False, True)))
    state = pool_state(Saturation(saturated), fitting, draw(st.sampled_from(("", "nebius", "crusoe"))))
    seen = snapshot(of, nodes, pods, foreign=tuple(foreign), in_flight=flying, refused_offers=refused)
    return Case(seen, state)


def _node(
    name: str,
    of: str,
    gpus: int,
    state: dict[str, Any],
    taints: Sequence[Taint],
    zone: str,
    cpu: int,
    bound: Sequence[tuple[int, float | None, str]],
) -> tuple[Node, list[Pod]]:
    made = node(name, gpus, of=of, taints=taints, labels={"zone": zone}, room={"cpu": cpu}, **state)
    pods: list[Pod] = []
    for index, (size, deleting, burst) in enumerate(bound):
        if size <= gpus:
            gpus -= size
            shaped = shape(size, more={"cpu": 1})
            pods.append(pod(f"{name}-b{index}", on=name, shaped=shaped, deleting=deleting, burst=burst))
    return made, pods


def _waiting(name: str, words: tuple[Any, ...], flying: dict[str, Offer], fitting: dict[tuple[str, str], float]) -> Pod:
    shaped, priority, waited, state, allowed, sending, to, ago, unschedulable, fits_for = words
    options: dict[str, Any] = {"shaped": shaped, "priority": priority, "waited": waited, "allowed": allowed, **state}
    match sending:
        case "sent":
            options |= {"sent": [(to, NOW - ago)]}
        case "sent twice":
            options |= {"sent": [(other, NOW - 2 * ago) for other in PROVIDERS[1:] if other != to][:1]}
            options["sent"].append((to, NOW - ago))
        case "admitted":
            options |= {"tolerates": [to]}
        case "label only":
            options |= {"burst": to}
        case _:
            pass
    made = pod(name, unschedulable=unschedulable, **options)
    if sending == "flying":
        flying[made.uid] = Offer(to, NOW - 0.1)
    if fits_for is not None:
        fitting[made.uid, "aws" if sending == "no" else to] = NOW - fits_for
    return made
