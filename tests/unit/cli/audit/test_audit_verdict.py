"""What the verdict on a loss assumes and leaves out is told with it, in sentences and in figures for programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from computepool.audit.auditing import Audit, Question
from computepool.cli.audit.data import as_data
from computepool.cli.audit.document import TERMINAL
from computepool.cli.audit.page import page
from computepool.cli.audit.sections import document
from tests.unit.cli.audit.audited_clusters import audited, node, pods
from tests.unit.cli.audit.saved_objects import GPU, Json

SPREAD: Json = {
    "affinity": {
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "x"}}}
            ]
        }
    }
}
NOBODY_HAS_THEM = "a ComputePool over all providers: no pool of this cluster has these pods."


def lost(folder: Path, objects: list[Json], **question: Any) -> Audit:
    return audited(folder, [node("a1"), node("n1", "nebius"), *objects], Question(lose=("aws",), **question))


def verdict(found: Audit) -> tuple[str, ...]:
    return document(found, TERMINAL).verdict


def figures(found: Audit) -> dict[str, Any]:
    names = ("withoutPool", "observing", "notModelled", "constraintsNotModelled", "notJudged")
    loss = as_data(found)["verdict"]
    return {name: loss[name] for name in names if loss[name]}


def pool(mode: str, **spec: Any) -> Json:
    providers = [{"name": name, "nodeSelector": {"matchLabels": {"provider": name}}} for name in ("aws", "nebius")]
    return {
        "apiVersion": "computepool.io/v1alpha1",
        "kind": "ComputePool",
        "metadata": {"name": "ml", "uid": "ml", "resourceVersion": "1", "generation": 1},
        "spec": {"mode": mode, "accelerator": {"resourceName": GPU}, "providers": providers, **spec},
    }


def of_daemon_set(found: list[Json]) -> list[Json]:
    for pod in found:
        pod["metadata"]["ownerReferences"][0]["kind"] = "DaemonSet"
    return found


def of_namespace(name: str, found: list[Json]) -> list[Json]:
    for pod in found:
        pod["metadata"]["namespace"] = name
    return found


def ending(found: list[Json]) -> list[Json]:
    for pod in found:
        pod["metadata"]["deletionTimestamp"] = "2026-11-30T09:00:00Z"
    return found


def test_a_pool_that_is_not_there_is_told_as_assumed(tmp_path: Path) -> None:
    found = lost(tmp_path, pods("web", "a1", 8))
    assert verdict(found)[1:] == (f"All 8 places assume {NOBODY_HAS_THEM}",)
    assert figures(found) == {"withoutPool": 8}
    alone = lost(tmp_path, pods("web", "a1"))
    assert verdict(alone)[1:] == (f"This place assumes {NOBODY_HAS_THEM}",)


def test_a_pool_that_enforces_and_has_all_pods_assumes_nothing(tmp_path: Path) -> None:
    found = lost(tmp_path, [pool("Enforce"), *pods("web", "a1", 8)])
    assert len(verdict(found)) == 1
    assert figures(found) == {}


def test_a_pool_that_only_observes_is_told(tmp_path: Path) -> None:
    found = lost(tmp_path, [pool("Observe"), *pods("web", "a1", 8)])
    assert verdict(found)[1:] == ("All 8 places assume mode Enforce: the ComputePool ml only observes.",)
    assert figures(found) == {"observing": {"ml": 8}}


def test_pods_that_the_pool_does_not_select_are_told_apart(tmp_path: Path) -> None:
    own = pods("own", "a1", 3)
    for each in own:
        each["metadata"]["labels"] = {"app": "own"}
    selected = pool("Observe", workloads={"podSelector": {"matchLabels": {"app": "own"}}})
    found = lost(tmp_path, [selected, *own, *pods("other", "a1")])
    assert verdict(found)[1:] == (
        f"1 of the 4 places assumes {NOBODY_HAS_THEM}",
        "3 of the 4 places assume mode Enforce: the ComputePool ml only observes.",
    )


def test_constraints_that_are_not_modelled_are_counted_and_named(tmp_path: Path) -> None:
    found = lost(tmp_path, [pool("Enforce"), *pods("spread", "a1", 2, **SPREAD), *pods("web", "a1")])
    assert verdict(found)[1:] == ("2 of the 3 places ignore constraints that are not modelled: podAntiAffinity.",)
    assert figures(found) == {"notModelled": 2, "constraintsNotModelled": ["podAntiAffinity"]}


def test_stranded_pods_assume_nothing(tmp_path: Path) -> None:
    found = lost(tmp_path, pods("full", "n1", 8) + pods("web", "a1", **SPREAD))
    assert len(verdict(found)) == 1
    assert figures(found) == {}


@pytest.mark.parametrize(
    "left_out",
    [
        of_daemon_set(pods("agent", "a1", gpus=8)),
        ending(pods("old", "a1", gpus=8)),
        of_namespace("kube-system", pods("system", "a1", gpus=8)),
    ],
)
def test_pods_that_are_not_judged_still_hold_accelerators(tmp_path: Path, left_out: list[Json]) -> None:
    found = lost(tmp_path, left_out, reserved=("kube-system",))
    held = "8 accelerators there are held by pods that are not judged, such as agents, system pods and pods that end."
    assert verdict(found) == ("If aws fails now, no workload that can be judged is lost.", held)
    assert figures(found) == {"notJudged": 8}
    assert f"no workload that can be judged holds any of its 8 accelerators. {held}" in page(found)
    assert "Not judged: 8." in str(document(found, TERMINAL).sections)


def test_pods_that_are_not_judged_are_told_beside_those_that_are(tmp_path: Path) -> None:
    found = lost(tmp_path, [pool("Enforce"), *pods("web", "a1", 2), *of_daemon_set(pods("agent", "a1"))])
    held = "1 accelerator there is held by pods that are not judged, such as agents, system pods and pods that end."
    assert verdict(found) == ("If aws fails now: 2 of 2 accelerators have somewhere to go; none is stranded.", held)
    assert f"2 of 8 accelerators held, 0 stranded. {held}" in page(found)


def test_nodes_without_any_pod_lose_nothing(tmp_path: Path) -> None:
    assert verdict(lost(tmp_path, [])) == ("If aws fails now, nothing is lost: no pod holds an accelerator there.",)
