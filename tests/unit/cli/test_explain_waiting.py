"""`computepool explain` for pods that wait: what each provider says, and what the pod's own spec says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from computepool.model.reasons import Reason
from tests.fakes.apiserver import COMPUTEPOOLS, EVENTS, NODES, PODS, FakeApiServer
from tests.unit.act.objects import node, pod, pool, provider
from tests.unit.app.cluster import OFFERS, full, make_pool
from tests.unit.cli.explaining import cluster, explained, rows, stamp, toleration


def test_a_pod_that_no_standby_takes_for_want_of_money_says_so(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        full(server)
        priced = [provider("nebius", pricePerAcceleratorHour="3"), provider("crusoe", pricePerAcceleratorHour="1")]
        make_pool(server, "aws", *priced, budget={"perHour": "6"})
        server.create(PODS, pod("taken", 4, on="c1"))
        server.create(PODS, pod("web"))

    text = explained(tmp_path, "web", before)
    assert rows(text) == [["aws", "NoRoom"], ["nebius", "BudgetExhausted"], ["crusoe", "NoRoom"]]
    assert f"BudgetExhausted: {Reason.BUDGET_EXHAUSTED.help}" in text


def test_a_pod_on_a_standby_that_was_not_sent_there_says_so(tmp_path: Path) -> None:
    text = explained(tmp_path, "web", cluster(on="n1", labels={"computepool.io/burst": "nebius"}))
    assert "It was not sent there: the admission policy gave it its toleration" in " ".join(text.split())


def test_admission_that_a_forecast_has_opened_is_said_to_be_open_ahead_of_time(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        full(server, policy=True)
        forecast = {"reason": "ForecastFull", "message": "aws will be full in about 5 min.", "opensAdmission": True}
        server.create(COMPUTEPOOLS, {**pool(), "status": {"forecast": forecast}})
        server.create(PODS, pod("web", on="n1", labels={"computepool.io/burst": "nebius"}))

    text = explained(tmp_path, "web", before)
    assert "Admission is open ahead of time: aws will be full in about 5 min." in text


def test_a_pod_on_a_node_of_no_provider_says_so(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        cluster(on="x1")(server)
        server.create(NODES, node("x1", "elsewhere"))

    text = explained(tmp_path, "web", before)
    assert "Runs on node x1." in text
    assert "RunsElsewhere" in text


@pytest.mark.parametrize("labels", [{}, {"kueue.x-k8s.io/podset": "main"}], ids=["by itself", "by Kueue"])
def test_a_pinned_pod_says_by_which_selector_and_who_has_set_it(tmp_path: Path, labels: dict[str, str]) -> None:
    pinned = cluster(labels=labels, nodeSelector={"computepool.io/provider": "aws"})
    text = explained(tmp_path, "web", pinned)
    assert rows(text) == [["aws", "NoRoom"], ["nebius", "Pinned"], ["crusoe", "Pinned"]]
    assert "Pinned by its nodeSelector computepool.io/provider=aws." in text
    assert ("probably those of the flavor that Kueue has chosen" in " ".join(text.split())) == bool(labels)


def test_a_pod_of_kueue_that_only_its_own_affinity_pins_is_not_said_to_be_pinned_by_a_flavor(tmp_path: Path) -> None:
    expression = {"key": "computepool.io/provider", "operator": "In", "values": ["aws"]}
    required = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    text = explained(tmp_path, "web", cluster(labels={"kueue.x-k8s.io/podset": "main"}, affinity=affinity))
    assert "Pinned by its required node affinity." in text
    assert "Kueue manages" not in text


def test_a_waiting_pod_lists_the_providers_in_order_each_with_its_reason(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        full(server)
        make_pool(server, "aws", provider("nebius", capacity={"maxAccelerators": 2}), "crusoe")
        server.create(PODS, pod("web", 3))
        server.create(PODS, pod("taken", 2, on="c1"))

    text = explained(tmp_path, "web", before)
    assert rows(text) == [["aws", "TooLarge"], ["nebius", "AtMaxAccelerators"], ["crusoe", "NoRoom"]]
    assert "NoProviderLeft" in text
    assert "Has waited for" in text


def test_a_pod_about_to_be_sent_on_says_where(tmp_path: Path) -> None:
    text = explained(tmp_path, "web", cluster())
    assert "About to be sent to nebius." in text
    assert rows(text) == [["aws", "NoRoom"], ["nebius", "Chosen"], ["crusoe", "LessPreferred"]]
    assert "0 of its 2 usable accelerators are free." in text


def test_a_cheaper_provider_that_is_not_taken_says_why(tmp_path: Path) -> None:
    def priced(placement: str) -> Callable[[FakeApiServer], None]:
        def before(server: FakeApiServer) -> None:
            full(server)
            standbys = [
                provider("nebius", pricePerAcceleratorHour="3"),
                provider("crusoe", pricePerAcceleratorHour="1"),
            ]
            make_pool(server, "aws", *standbys, placement=placement)
            server.create(PODS, pod("web"))

        return before

    (ordered, cheapest) = (" ".join(explained(tmp_path, "web", priced(how)).split()) for how in ("Ordered", "Cheapest"))
    assert "It is cheaper (1 against 3 an hour), but the price is not asked for: placement is Ordered." in ordered
    assert "It is cheaper" not in cheapest


def test_a_provider_behind_the_chosen_one_that_could_not_take_the_pod_says_why(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        cluster()(server)
        server.create(PODS, pod("taken", 3, on="c1"))
        server.create(PODS, pod("taken-too", 1, on="c1"))

    text = explained(tmp_path, "web", before)
    assert rows(text) == [["aws", "NoRoom"], ["nebius", "Chosen"], ["crusoe", "NoRoom"]]


def test_a_taint_that_keeps_the_pod_off_is_named_with_a_node(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        full(server)
        for name, provider_of in (("a1", "aws"), ("n1", "nebius")):
            item = server.get(NODES, name)
            taints = [*item["spec"].get("taints", []), {"key": "team", "value": provider_of, "effect": "NoExecute"}]
            server.update(NODES, {**item, "spec": {**item["spec"], "taints": taints}})
        make_pool(server)
        server.create(PODS, pod("web"))

    text = explained(tmp_path, "web", before)
    assert rows(text) == [["aws", "Tainted"], ["nebius", "Tainted"], ["crusoe", "Chosen"]]
    assert "Node a1 has the taint team=aws:NoExecute." in text
    assert "Node n1 has the taint team=nebius:NoExecute." in text


def test_a_node_that_is_starting_is_named_with_its_startup_taint(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        full(server)
        item = server.get(NODES, "n1")
        agent = {"key": "node.cilium.io/agent-not-ready", "effect": "NoSchedule"}
        spec = {**item["spec"], "taints": [*item["spec"]["taints"], agent]}
        server.update(NODES, {**item, "spec": spec, "metadata": {**item["metadata"], "creationTimestamp": stamp(5)}})
        make_pool(server)
        server.create(PODS, pod("web"))

    text = explained(tmp_path, "web", before)
    assert rows(text) == [["aws", "NoRoom"], ["nebius", "NodeStarting"], ["crusoe", "Chosen"]]
    assert "Node n1 still has the taint node.cilium.io/agent-not-ready:NoSchedule." in " ".join(text.split())


def test_a_breaker_that_is_not_closed_and_a_limit_are_told_with_their_facts(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        full(server)
        limited = provider("crusoe", capacity={"maxAccelerators": 1})
        make_pool(server, "aws", provider("nebius", drain=True), limited)
        server.create(PODS, pod("taken", on="c1", labels={"computepool.io/burst": "crusoe"}))
        server.create(PODS, pod("web"))

    text = explained(tmp_path, "web", before)
    assert rows(text) == [["aws", "NoRoom"], ["nebius", "ProviderUnavailable"], ["crusoe", "AtMaxAccelerators"]]
    text = " ".join(text.split())
    assert "Its breaker is Open: Drained." in text
    assert "It may use 1, and holds 1." in text


def test_in_observe_it_says_what_would_be_done(tmp_path: Path) -> None:
    text = explained(tmp_path, "web", cluster(pool={"mode": "Observe"}))
    assert "Would be sent to nebius." in text
    assert Reason.OBSERVING.help in text


def test_a_pod_that_was_sent_on_says_for_whom_it_waits_and_for_how_long_at_most(tmp_path: Path) -> None:
    sent = cluster(
        labels={"computepool.io/burst": "nebius"},
        annotations={OFFERS: f"nebius={stamp(20)}"},
        tolerations=[toleration("nebius")],
    )
    text = explained(tmp_path, "web", sent)
    assert "now for nebius, at most 60 s more." in text
    assert "AwaitingScheduler" in text
    assert rows(text) == [["aws", "NoRoom"], ["nebius", "AwaitingScheduler"], ["crusoe", "LessPreferred"]]
    assert "It was sent to nebius 20 s ago." in text


def test_a_pod_too_young_to_leave_says_for_how_long_it_stays(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        full(server)
        make_pool(server, saturation={"pendingSeconds": 600})
        young = pod("web")
        server.create(PODS, {**young, "metadata": {**young["metadata"], "creationTimestamp": stamp(60)}})

    text = explained(tmp_path, "web", before)
    assert "Has waited for 60 s, at most 9 min more." in text or "at most 8 min more." in text
    assert rows(text) == [
        ["aws", "NoRoom"],
        ["nebius", "BelowPendingSeconds"],
        ["crusoe", "BelowPendingSeconds"],
    ]


def test_a_pod_too_young_to_leave_learns_that_a_standby_has_no_room_for_it_anyway(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        full(server)
        make_pool(server, saturation={"pendingSeconds": 600})
        server.create(PODS, pod("taken", 4, on="c1"))
        young = pod("web")
        server.create(PODS, {**young, "metadata": {**young["metadata"], "creationTimestamp": stamp(60)}})

    assert rows(explained(tmp_path, "web", before))[1:] == [["nebius", "BelowPendingSeconds"], ["crusoe", "NoRoom"]]


def test_a_pod_that_fits_at_home_learns_what_each_provider_says(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        full(server)
        server.create(NODES, node("a2", "aws", 2))
        make_pool(server)
        server.create(PODS, pod("web"))

    text = explained(tmp_path, "web", before)
    assert rows(text) == [["aws", "FitsOnPreferred"], ["nebius", "LessPreferred"], ["crusoe", "LessPreferred"]]


def refused_patch(server: FakeApiServer, provider: str, seconds_ago: float) -> None:
    """An event of the operator: the API server has refused to send the pod there."""
    web = server.get(PODS, "web", "default")
    server.create(
        EVENTS,
        {
            "metadata": {
                "name": f"web.{provider}",
                "namespace": "default",
                "annotations": {"computepool.io/provider": provider},
            },
            "involvedObject": {"kind": "Pod", "name": "web", "uid": web["metadata"]["uid"]},
            "reason": "WriteRefused",
            "message": f"the patch that sends pod default/web to {provider} was refused: the guard says no.",
            "eventTime": stamp(seconds_ago),
            "reportingComponent": "computepool.io/operator",
        },
    )


def test_a_pod_whose_patch_is_refused_names_the_provider_and_the_answer(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        cluster()(server)
        refused_patch(server, "nebius", 20)

    text = explained(tmp_path, "web", before)
    assert "About to be sent to crusoe." in text
    assert rows(text) == [["aws", "NoRoom"], ["nebius", "WriteRefused"], ["crusoe", "Chosen"]]
    said = " ".join(text.split())
    assert "was refused: the guard says no. This event is 20 s old. The operator tries again within a minute." in said


def test_a_pod_that_every_provider_refuses_waits(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        cluster()(server)
        refused_patch(server, "nebius", 20)
        refused_patch(server, "crusoe", 20)

    text = explained(tmp_path, "web", before)
    assert "WriteRefused: " in text
    assert rows(text) == [["aws", "NoRoom"], ["nebius", "WriteRefused"], ["crusoe", "WriteRefused"]]


def test_a_refused_patch_of_long_ago_is_none(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        cluster()(server)
        refused_patch(server, "nebius", 900)

    text = explained(tmp_path, "web", before)
    assert "About to be sent to nebius." in text
    assert "the guard says no" not in text


def test_a_pod_without_an_event_says_what_the_pools_condition_says(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        cluster()(server)
        item = server.get(COMPUTEPOOLS, "inference")
        words = {"type": "Degraded", "status": "True", "reason": "WriteRefused", "message": "the guard says no"}
        degraded = {**words, "lastTransitionTime": stamp(20), "observedGeneration": 1}
        server.update(COMPUTEPOOLS, {**item, "status": {**item.get("status", {}), "conditions": [degraded]}})

    assert "Writes of the operator fail, maybe those of other pods: the guard says no." in explained(
        tmp_path, "web", before
    )
