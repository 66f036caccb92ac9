"""The patches of a pod that is sent to a standby, and of a pod whose label is corrected."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from computepool.act.patches import burst_patch, label_patch
from computepool.decide.plan import LabelFix
from computepool.model.offers_annotation import parse_offers
from tests.fakes.objectstore import ObjectStore, RefusedError
from tests.fakes.patches import merge_patched
from tests.unit.act.objects import burst, pod, pod_record

AT = datetime(2026, 11, 23, 5, 0, 0, 123000, UTC).timestamp()
COST = "controller.kubernetes.io/pod-deletion-cost"
OFFERS = "computepool.io/offers"
SIGNALS = "computepool.io/signals"
TOLERATION = {"key": "computepool.io/provider", "operator": "Equal", "value": "nebius", "effect": "NoSchedule"}
STORE, KEY = "/api/v1/pods", ("default", "web")


def stored(**how: Any) -> dict[str, Any]:
    return ObjectStore().create(STORE, pod("web", **how))


def sent_on(item: dict[str, Any], to: str = "nebius", at: float = AT) -> dict[str, Any]:
    patched: dict[str, Any] = merge_patched(item, burst_patch(burst(pod_record(item), to), at))
    return patched


def test_a_pod_sent_on_gets_the_toleration_the_label_the_offer_and_a_low_deletion_cost() -> None:
    item = sent_on(stored())
    assert item["spec"]["tolerations"] == [TOLERATION]
    assert item["metadata"]["labels"]["computepool.io/burst"] == "nebius"
    assert item["metadata"]["annotations"] == {OFFERS: "nebius=2026-11-23T05:00:00.123Z", COST: "-100"}


@pytest.mark.parametrize(
    "have",
    [
        {
            "key": "node.kubernetes.io/unreachable",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": 300,
        },
        {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0},
        {"key": "team", "value": "ml"},
        {"key": "team", "operator": "Equal"},
        {"operator": "Exists"},
    ],
)
def test_tolerations_that_a_pod_has_are_written_back_as_they_were(have: dict[str, Any]) -> None:
    # The API server refuses an update that removes or changes one of them.
    assert sent_on(stored(tolerations=[have]))["spec"]["tolerations"] == [have, TOLERATION]


def test_what_else_is_on_the_pod_stays() -> None:
    before = stored(labels={"app": "web"}, annotations={"owner": "ml"})
    after = sent_on(before)
    assert after["metadata"]["labels"]["app"] == "web"
    assert after["metadata"]["annotations"]["owner"] == "ml"
    assert after["spec"]["containers"] == before["spec"]["containers"]


def test_a_deletion_cost_that_somebody_set_is_kept() -> None:
    assert sent_on(stored(annotations={COST: "7"}))["metadata"]["annotations"][COST] == "7"


def test_a_pod_says_which_signals_were_on_when_it_was_last_sent() -> None:
    once = merge_patched(
        stored(), burst_patch(msgspec.structs.replace(burst(pod_record(stored())), signals=("queue", "busy")), AT)
    )
    assert once["metadata"]["annotations"][SIGNALS] == "queue,busy"
    assert pod_record(once).signals == ("queue", "busy")
    again = sent_on(once, "crusoe", AT + 60)
    assert SIGNALS not in again["metadata"]["annotations"]


def test_a_second_offer_is_written_after_the_first_and_the_label_names_it() -> None:
    item = sent_on(sent_on(stored()), "crusoe", AT + 60)
    assert item["metadata"]["annotations"][OFFERS] == (
        "nebius=2026-11-23T05:00:00.123Z,crusoe=2026-11-23T05:01:00.123Z"
    )
    assert item["metadata"]["labels"]["computepool.io/burst"] == "crusoe"
    assert [toleration["value"] for toleration in item["spec"]["tolerations"]] == ["nebius", "crusoe"]


def test_an_offer_repeated_to_the_same_provider_leaves_one() -> None:
    once = sent_on(stored())
    # As after a restart: decided from the pod as it was read, so the toleration is no longer missing.
    again = merge_patched(once, burst_patch(burst(pod_record(once), tolerations=()), AT + 5))
    assert len(parse_offers(again["metadata"]["annotations"][OFFERS])) == 1
    assert again["spec"]["tolerations"] == [TOLERATION]


def test_a_patch_written_twice_changes_nothing_the_second_time() -> None:
    store = ObjectStore()
    item = store.create(STORE, pod("web"))
    patch = burst_patch(burst(pod_record(item)), AT)
    first = copy.deepcopy(store.replace(STORE, KEY, merge_patched(item, patch)))
    second = store.replace(STORE, KEY, merge_patched(first, patch))
    assert second == first


def test_another_pod_of_the_same_name_is_refused() -> None:
    store = ObjectStore()
    patch = burst_patch(burst(pod_record(store.create(STORE, pod("web")))), AT)
    store.delete(STORE, KEY)
    other = store.create(STORE, pod("web"))
    with pytest.raises(RefusedError, match="Conflict"):
        store.replace(STORE, KEY, merge_patched(other, patch))


def test_a_status_that_the_scheduler_wrote_meanwhile_does_not_make_the_patch_fail() -> None:
    store = ObjectStore()
    item = store.create(STORE, pod("web"))
    patch = burst_patch(burst(pod_record(item)), AT)
    tried = store.replace(STORE, KEY, {**item, "status": {"phase": "Pending", "conditions": []}})
    assert store.replace(STORE, KEY, merge_patched(tried, patch))["spec"]["tolerations"] == [TOLERATION]


def test_a_pod_found_on_a_standby_is_marked_with_its_name_and_a_low_deletion_cost() -> None:
    item = stored(on="n1")
    patched = merge_patched(item, label_patch(LabelFix(pod_record(item), "nebius")))
    assert patched["metadata"]["labels"]["computepool.io/burst"] == "nebius"
    assert patched["metadata"]["annotations"] == {COST: "-100"}
    assert patched["spec"] == item["spec"]


def test_a_pod_that_was_sent_on_and_runs_at_home_loses_the_label_and_the_deletion_cost_we_gave_it() -> None:
    sent = sent_on(stored(labels={"app": "web"}))
    home = merge_patched(sent, label_patch(LabelFix(pod_record(sent), "")))
    assert home["metadata"]["labels"] == {"app": "web"}
    assert list(home["metadata"]["annotations"]) == [OFFERS]


def test_marking_keeps_a_deletion_cost_that_somebody_set() -> None:
    item = stored(on="n1", annotations={COST: "7"}, labels={"computepool.io/burst": "crusoe"})
    for to in ("nebius", ""):
        patched = merge_patched(item, label_patch(LabelFix(pod_record(item), to)))
        assert patched["metadata"]["annotations"] == {COST: "7"}


def test_patches_are_plain_json() -> None:
    record = pod_record(stored())
    for patch in (burst_patch(burst(record), AT), label_patch(LabelFix(record, ""))):
        assert msgspec.json.decode(msgspec.json.encode(patch)) == patch
