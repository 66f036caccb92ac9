"""No accelerator that a pod holds is forgotten: a loss either judges the pod, or counts it as not judged."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from computepool.model.api import ComputePool
from computepool.model.cluster import Pod
from tests.builders import GPU, NOW, node, pool, provider
from tests.unit.audit.audited import cluster, lost, owned

NODES = [node("a1"), node("a2"), node("n1")]
POOLS = st.sampled_from([(), (pool(provider("aws"), provider("nebius")),)])


@st.composite
def pods(draw: st.DrawFn) -> list[Pod]:
    return [
        owned(
            f"pod-{number}",
            draw(st.integers(0, 8)),
            on=draw(st.sampled_from(["", "a1", "a2", "n1"])),
            kind=draw(st.sampled_from(["ReplicaSet", "DaemonSet", "StatefulSet"])),
            namespace=draw(st.sampled_from(["default", "kube-system"])),
            deleting=draw(st.sampled_from([None, None, NOW])),
        )
        for number in range(draw(st.integers(0, 6)))
    ]


@given(pods(), POOLS)
def test_the_pods_of_a_lost_provider_are_judged_or_counted_as_not_judged(
    found: list[Pod], pools: Sequence[ComputePool]
) -> None:
    loss = lost(cluster(NODES, found, pools=pools), "aws", reserved=("kube-system",))
    on_lost = [pod for pod in found if pod.node in ("a1", "a2")]
    held = sum(amount for pod in on_lost for name, amount in pod.shape.requests if name == GPU)
    assert loss.held + loss.assumptions.not_judged == held
    assumed = (loss.assumptions.without_pool, sum(loss.assumptions.observing.values()), loss.assumptions.unmodelled)
    assert max(assumed) <= loss.placed
    assert loss.assumptions.without_pool in ((0,) if pools else (loss.placed,))
