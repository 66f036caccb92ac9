"""`computepool explain`: why a pod is where it is, or waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from computepool.model.reasons import Reason
from tests.fakes.apiserver import COMPUTEPOOLS, EVENTS, NODES, PODS, FakeApiServer
from tests.unit.act.objects import node, pod, pool, provider
from tests.unit.app.cluster import NAMESPACES, OFFERS, full, make_pool
from tests.unit.cli.serving import Shell, shell

SIGNALS = "computepool.io/signals"
MOVABLE = {"computepool.io/movable": "true"}


def stamp(seconds_ago: float) -> str:
    """A moment so long ago."""
    return datetime.fromtimestamp(time.time() - seconds_ago, UTC).isoformat().replace("+00:00", "Z")


def toleration(to: str) -> dict[str, str]:
    return {"key": "computepool.io/provider", "operator": "Equal", "value": to, "effect": "NoSchedule"}


def explained(folder: Path, name: str, before: Callable[[FakeApiServer], object], *words: str) -> str:
    with shell(folder, before) as sh:
        return sh.prints("explain", name, *words)


def cluster(**how: Any) -> Callable[[FakeApiServer], None]:
    """A full primary, two standbys, a pool of the three, and one pod named web, made as it is said."""

    of_pool = how.pop("pool", {})

    def before(server: FakeApiServer) -> None:
        full(server, policy=True)
        make_pool(server, **of_pool)
        server.create(PODS, pod("web", **how))

    return before


def rows(text: str) -> list[list[str]]:
    """The table's providers and verdicts."""
    lines = text.splitlines()
    start = next(index for index, line in enumerate(lines) if line.split()[:2] == ["Provider", "Verdict"])
    found = []
    for line in lines[start + 1 :]:
        if not line.strip():
            break
        # Long meanings go on in lines without a provider.
        if not line.startswith("  "):
            found.append(line.split()[:2])
    return found


# -- pods that run


def test_a_pod_on_the_primary_is_said_to_run_there(tmp_path: Path) -> None:
    text = explained(tmp_path, "old-1", full_with_pool)
    assert text.splitlines() == [
        "default/old-1  1 nvidia.com/gpu  priority 0  pool inference",
        "Runs on aws, node a1.",
        f"RunsOnPrimary: {Reason.RUNS_ON_PRIMARY.help}",
    ]


def full_with_pool(server: FakeApiServer) -> None:
    full(server)
    make_pool(server)


def test_a_burst_pod_says_where_it_runs_and_where_it_was_sent_and_when(tmp_path: Path) -> None:
    text = explained(
        tmp_path,
        "web",
        cluster(
            on="c1",
            labels={"computepool.io/burst": "crusoe"},
            annotations={OFFERS: f"nebius={stamp(7300)},crusoe={stamp(200)}"},
        ),
    )
    assert "Runs on crusoe, node c1." in text
    assert "RunsOnStandby" in text
    assert "It was sent to nebius 2 h ago, to crusoe 3 min ago." in text
    assert "It stays there until it ends: failback.policy is Never, and nothing asks it to leave." in text


def untainted(server: FakeApiServer, **of_pod: Any) -> None:
    """A standby's node lacks the taint, and a pod is on the primary."""
    full(server)
    server.create(NODES, node("n2", "nebius", 4, tainted=False))
    make_pool(server)
    server.create(PODS, pod("web", **of_pod))


def test_what_is_wrong_with_a_provider_that_the_pod_may_use_is_told_with_the_command(tmp_path: Path) -> None:
    text = explained(tmp_path, "web", untainted)
    assert "StandbyNotTainted: nodes of nebius have no taint that keeps other pods off: n2." in text
    assert "`kubectl taint nodes n2 computepool.io/provider=nebius:NoSchedule --overwrite`" in text


def test_a_provider_that_the_pod_may_not_use_is_none_of_its_business(tmp_path: Path) -> None:
    stays = {"computepool.io/providers": "crusoe"}
    text = explained(tmp_path, "web", lambda server: untainted(server, annotations=stays))
    assert "StandbyNotTainted" not in text


QUEUE = {"name": "queue", "query": "waiting", "enter": "5", "exit": "1"}


def reporting(server: FakeApiServer, signal: dict[str, Any], **of_pod: Any) -> None:
    """A pool whose status has a verdict on the signal `queue`, and a pod that has just been created."""
    full(server, policy=True)
    saturation = {"pendingSeconds": 3600, "metrics": [QUEUE]}
    item = make_pool(server, saturation=saturation)
    server.update(COMPUTEPOOLS, {**item, "status": {"signals": [{"key": "saturation/queue", **signal}]}})
    web = pod("web", **of_pod)
    web["metadata"]["creationTimestamp"] = stamp(5)
    server.create(PODS, web)


def test_the_operators_verdict_on_a_signal_decides_here_too_and_is_named(tmp_path: Path) -> None:
    on = explained(tmp_path, "web", lambda server: reporting(server, {"verdict": "On", "on": True}))
    assert "About to be sent to nebius." in on
    assert "Signals that are on: queue." in on
    off = explained(tmp_path, "web", lambda server: reporting(server, {"verdict": "Off"}))
    assert "Has waited for" in off


def test_a_signal_that_is_unknown_sends_nobody_here_either(tmp_path: Path) -> None:
    held = {"verdict": "Unknown", "on": True, "message": "Nothing came."}
    assert "Has waited for" in explained(tmp_path, "web", lambda server: reporting(server, held))


def test_a_pod_that_a_signal_sent_says_which(tmp_path: Path) -> None:
    how = {"on": "n1", "labels": {"computepool.io/burst": "nebius"}, "annotations": {SIGNALS: "queue,busy"}}
    text = explained(tmp_path, "web", lambda server: reporting(server, {"verdict": "Off"}, **how))
    assert "It was sent to nebius while these signals were on: queue, busy." in text


def test_a_burst_pod_that_is_not_brought_home_yet_says_why(tmp_path: Path) -> None:
    text = explained(
        tmp_path,
        "web",
        cluster(
            pool={"failback": {"policy": "WhenStable"}},
            on="n1",
            labels={"computepool.io/burst": "nebius"},
            annotations={OFFERS: f"nebius={stamp(200)}"},
        ),
    )
    assert "Runs on nebius, node n1, may come home, and stays." in text
    assert "NotStable" in text
    assert "It was sent to nebius 3 min ago." in text
    assert "failback.policy is Never" not in text


def test_a_primary_that_has_been_stable_for_long_is_no_reason_to_stay(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        cluster(on="n1", labels={"computepool.io/burst": "nebius"})(server)
        calm = {"type": "Saturated", "status": "False", "reason": "PrimaryHasRoom", "lastTransitionTime": stamp(7300)}
        item = server.get(COMPUTEPOOLS, "inference")
        patient = {**item["spec"]["saturation"], "sustainSeconds": 3600}
        spec = {**item["spec"], "failback": {"policy": "WhenStable"}, "saturation": patient}
        server.update(COMPUTEPOOLS, {**item, "spec": spec, "status": {"conditions": [calm]}})

    text = explained(tmp_path, "web", before)
    assert "Runs on nebius" in text
    assert "stays" in text
    assert "NotStable" not in text


def test_a_pod_on_a_drained_provider_that_nobody_can_take_should_leave_and_stays(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        full(server)
        make_pool(server, "aws", provider("nebius", drain=True))
        server.create(PODS, pod("web", on="n1"))

    text = explained(tmp_path, "web", before)
    assert "Runs on nebius, node n1, should leave it, and stays" in text


def drained(server: FakeApiServer) -> None:
    """Pods of nebius leave its node, which carries the taint, for crusoe."""
    full(server)
    make_pool(server, "aws", provider("nebius", drain=True), "crusoe", failover={"runningPods": "Move"})
    n1 = server.get(NODES, "n1")
    taints = [*n1["spec"]["taints"], {"key": "computepool.io/unavailable", "value": "Drained", "effect": "NoSchedule"}]
    server.update(NODES, {**n1, "spec": {**n1["spec"], "taints": taints}})
    server.create(PODS, pod("web", on="n1", labels={"computepool.io/burst": "nebius"}, annotations=MOVABLE))


def refusal(server: FakeApiServer, seconds_ago: float, uid: str = "", by: str = "computepool.io/operator") -> None:
    """An event that the operator made of the pod."""
    web = server.get(PODS, "web", "default")
    server.create(
        EVENTS,
        {
            "metadata": {"name": f"web.{seconds_ago}.{uid}", "namespace": "default"},
            "involvedObject": {"kind": "Pod", "name": "web", "uid": uid or web["metadata"]["uid"]},
            "reason": "EvictionRefused",
            "message": "The disruption budget web needs 2 healthy pods and has 2 currently.",
            "eventTime": stamp(seconds_ago),
            "reportingComponent": by,
        },
    )


def test_a_pod_about_to_be_moved_says_where(tmp_path: Path) -> None:
    text = explained(tmp_path, "web", drained)
    assert "Runs on nebius, node n1; about to be moved to crusoe." in text
    assert "LeavesProvider" in text


def test_a_pod_whose_eviction_is_refused_says_so_since_when_by_whom_and_when_it_is_tried_again(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        drained(server)
        refusal(server, 900)
        refusal(server, 300)

    text = explained(tmp_path, "web", before)
    assert (
        "Runs on nebius, node n1; to be moved to crusoe, and its eviction has been refused for 15 min: "
        "it is tried again within 60 s." in text
    )
    assert f"EvictionRefused: {Reason.EVICTION_REFUSED.help}" in text
    assert "The disruption budget web needs 2 healthy pods and has 2 currently." in text


def test_refusals_of_long_ago_of_another_pod_and_of_others_are_none(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        drained(server)
        refusal(server, 800)
        refusal(server, 20, uid="before")
        refusal(server, 10, by="somebody-else")

    assert "about to be moved to crusoe." in explained(tmp_path, "web", before)


def test_where_events_may_not_be_listed_it_says_what_it_can_not_know(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        drained(server)
        refusal(server, 20)
        server.fault("list", status=403, path="/events", times=9)

    text = explained(tmp_path, "web", before)
    assert "about to be moved to crusoe." in text
    assert "Its events may not be listed" in text


def test_a_pod_that_leaves_a_unhealthy_node_for_another_of_its_provider_says_so(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        full(server)
        for name in ("n2", "n3"):
            server.create(NODES, node(name, "nebius"))
        make_pool(server)
        n1 = server.get(NODES, "n1")
        lost = {"key": "computepool.io/unavailable", "value": "NodeUnknown", "effect": "NoSchedule"}
        gone = [{"type": "Ready", "status": "Unknown", "lastTransitionTime": "2026-11-23T04:00:00Z"}]
        spec = {**n1["spec"], "taints": [*n1["spec"]["taints"], lost]}
        server.update(NODES, {**n1, "spec": spec, "status": {**n1["status"], "conditions": gone}})
        server.create(PODS, pod("web", on="n1", labels={"computepool.io/burst": "nebius"}, annotations=MOVABLE))

    text = explained(tmp_path, "web", before)
    assert "about to be moved to another node of nebius." in text
    assert f"Node n1 counts as unhealthy: NodeUnknown. {Reason.NODE_UNKNOWN.help}" in text


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


def test_a_pod_admitted_at_its_creation_says_so(tmp_path: Path) -> None:
    text = explained(tmp_path, "web", cluster(on="n1", labels={"computepool.io/burst": "nebius"}))
    assert Reason.ADMITTED.help in text


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


# -- pods that wait


@pytest.mark.parametrize("labels", [{}, {"kueue.x-k8s.io/podset": "main"}], ids=["by itself", "by Kueue"])
def test_a_pinned_pod_says_by_which_selector_and_who_has_set_it(tmp_path: Path, labels: dict[str, str]) -> None:
    pinned = cluster(labels=labels, nodeSelector={"computepool.io/provider": "aws"})
    text = explained(tmp_path, "web", pinned)
    assert rows(text) == [["aws", "NoRoom"], ["nebius", "Pinned"], ["crusoe", "Pinned"]]
    assert "Pinned by its nodeSelector computepool.io/provider=aws." in text
    assert ("Kueue admitted the pod to a flavor" in " ".join(text.split())) == bool(labels)


def test_a_pod_of_kueue_that_only_its_own_affinity_pins_is_not_said_to_be_pinned_by_a_flavor(tmp_path: Path) -> None:
    expression = {"key": "computepool.io/provider", "operator": "In", "values": ["aws"]}
    required = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    text = explained(tmp_path, "web", cluster(labels={"kueue.x-k8s.io/podset": "main"}, affinity=affinity))
    assert "Pinned by its required node affinity." in text
    assert "Kueue admitted" not in text


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


@pytest.mark.parametrize(
    ("allowed", "note"),
    [
        ("", "Its annotation computepool.io/providers is empty: it never leaves the primary."),
        ("crusoe, nebius", "Its annotation computepool.io/providers allows only crusoe, nebius."),
        ("NEBIUS, nebius", "'NEBIUS': The pod's annotation computepool.io/providers has a name that is no provider"),
    ],
)
def test_a_pods_own_say_is_told(tmp_path: Path, allowed: str, note: str) -> None:
    assert note in explained(tmp_path, "web", cluster(annotations={"computepool.io/providers": allowed}))


def test_what_fit_does_not_look_at_is_told(tmp_path: Path) -> None:
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]
    assert "Not looked at: its volumes; the scheduler" in explained(tmp_path, "web", cluster(volumes=volumes))


def test_a_frozen_pool_says_why_nothing_is_decided(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        server.create(NAMESPACES, {"metadata": {"name": "default"}})
        make_pool(server)
        server.create(PODS, pod("web"))

    text = explained(tmp_path, "web", before)
    assert "Frozen" in text
    assert "Nothing is decided: no node matches the nodeSelector of the primary 'aws'" in text


def test_a_gated_pod_says_whose_it_is(tmp_path: Path) -> None:
    text = explained(tmp_path, "web", cluster(schedulingGates=[{"name": "kueue.x-k8s.io/admission"}]))
    assert f"Gated: {Reason.GATED.help}" in text
    assert "Its scheduling gate kueue.x-k8s.io/admission is removed by Kueue." in text
    assert "Provider  Verdict" not in text


@pytest.mark.parametrize(
    ("gate", "holder"),
    [
        ("example.com/quota", "the controller of example.com"),
        ("my-gate", "the controller that has set it"),
        ("sub.kueue.x-k8s.io/topology", "Kueue"),
    ],
)
def test_a_gate_of_another_controller_names_it_as_far_as_the_gate_tells(tmp_path: Path, gate: str, holder: str) -> None:
    text = explained(tmp_path, "web", cluster(schedulingGates=[{"name": gate}]))
    assert f"Its scheduling gate {gate} is removed by {holder}." in text


def test_a_member_of_a_gang_names_the_gang_and_counts_its_members(tmp_path: Path) -> None:
    labels = {"jobset.sigs.k8s.io/jobset-name": "llama"}

    def before(server: FakeApiServer) -> None:
        cluster(labels=labels)(server)
        server.create(PODS, pod("web-2", labels=labels))
        server.create(PODS, pod("web-3", on="c1", labels=labels))
        server.create(PODS, pod("another", labels={"jobset.sigs.k8s.io/jobset-name": "mistral"}))

    text = " ".join(explained(tmp_path, "web", before).split())
    assert (
        "It is a member of the gang llama (jobset.sigs.k8s.io/jobset-name) of 3 pods, of which 1 bound and 2 waiting."
        in text
    )
    assert "ComputePool sends the pods of a gang one by one." in text


def test_a_gang_that_only_an_annotation_or_the_spec_marks_is_told_too(tmp_path: Path) -> None:
    by_annotation = explained(tmp_path, "web", cluster(annotations={"scheduling.k8s.io/group-name": "llama"}))
    assert "It is a member of the gang llama (scheduling.k8s.io/group-name)." in by_annotation
    by_spec = explained(tmp_path, "web", cluster(schedulingGroup={"podGroupName": "llama"}))
    assert "It is a member of a gang, by its spec." in by_spec


def owned_by(kind: str, name: str) -> dict[str, Any]:
    """The fields of a pod of such a controller that names node n1."""
    fields = [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]
    required = {"nodeSelectorTerms": [{"matchFields": fields}]}
    owner = {"apiVersion": "v1", "kind": kind, "name": name, "uid": f"uid-{name}", "controller": True}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    return {"ownerReferences": [owner], "affinity": affinity}


def test_a_pod_of_a_daemonset_names_it_and_its_node(tmp_path: Path) -> None:
    how = owned_by("DaemonSet", "agent")

    def before(server: FakeApiServer) -> None:
        cluster()(server)
        item = pod("agent-1", affinity=how["affinity"])
        server.create(PODS, {**item, "metadata": {**item["metadata"], "ownerReferences": how["ownerReferences"]}})

    text = explained(tmp_path, "agent-1", before)
    assert f"NodeBound: {Reason.NODE_BOUND.help}" in " ".join(text.split())
    assert "The DaemonSet agent made it for node n1: it runs there or nowhere." in text
    assert "Provider  Verdict" not in text


def test_a_static_pod_says_that_nothing_can_move_it(tmp_path: Path) -> None:
    mirror = {"kubernetes.io/config.mirror": "hash"}
    assert "It is a static pod: the kubelet" in explained(tmp_path, "web", cluster(on="n1", annotations=mirror))


def test_of_two_pools_that_select_it_the_older_is_named_first(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        cluster()(server)
        younger = pool(name="younger")
        younger["metadata"]["creationTimestamp"] = "2026-02-01T00:00:00Z"
        server.create(COMPUTEPOOLS, younger)

    text = explained(tmp_path, "web", before)
    assert "pool inference" in text
    assert "Also selected by younger; the oldest pool, inference, keeps it." in text


# -- pods that no pool looks after

A = {"app": "a"}
NOT_A_OR_B = {"key": "app", "operator": "NotIn", "values": ["a", "b"]}


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"pod": {"gpus": 0}}, "It requests no accelerator of any pool (nvidia.com/gpu)."),
        (
            {"pool": {"workloads": {"podSelector": {"matchLabels": {"app": "other"}}}}},
            "Pool inference: its podSelector wants app=other, and the pod has no label app.",
        ),
        (
            {"pool": {"workloads": {"podSelector": {"matchLabels": {"app": "a"}}}}, "pod": {"labels": {"app": "b"}}},
            "Pool inference: its podSelector wants app=a, and the pod has app=b.",
        ),
        (
            {"pool": {"workloads": {"namespaceSelector": {"matchLabels": {"team": "ml"}}}}},
            "Pool inference: its namespaceSelector wants team=ml, and namespace default has no label team.",
        ),
        (
            {"pool": {"workloads": {"podSelector": {"matchExpressions": [NOT_A_OR_B]}}}, "pod": {"labels": A}},
            "Pool inference: its podSelector wants app NotIn (a, b), and the pod has app=a.",
        ),
        (
            {"pool": {"accelerator": {"resourceName": "amd.com/gpu"}}},
            "It requests no accelerator of any pool (amd.com/gpu); it requests 1 nvidia.com/gpu.",
        ),
    ],
)
def test_a_pod_that_no_pool_selects_says_why(tmp_path: Path, how: dict[str, Any], why: str) -> None:
    text = explained(tmp_path, "web", cluster(pool=how.get("pool", {}), **how.get("pod", {})))
    assert "No ComputePool looks after this pod." in text
    assert why in text


def test_without_pools_it_says_that_there_is_none(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        full(server)

    assert "There is no ComputePool in the cluster." in explained(tmp_path, "old-1", before)


@pytest.mark.parametrize(
    ("namespace", "words"),
    [
        ("kube-system", ()),
        ("computepool-system", ()),
        ("elsewhere", ("--operator-namespace", "elsewhere")),
    ],
)
def test_pods_of_reserved_namespaces_are_never_managed(tmp_path: Path, namespace: str, words: tuple[str, ...]) -> None:
    def before(server: FakeApiServer) -> None:
        full_with_pool(server)
        item = pod("web")
        server.create(PODS, {**item, "metadata": {**item["metadata"], "namespace": namespace}})

    text = explained(tmp_path, f"{namespace}/web", before, *words)
    assert f"Pods of namespace {namespace} are never managed." in text


# -- finding the pod


@pytest.mark.parametrize("words", [("web",), ("default/web",), ("pod/web",), ("web", "-n", "default"), ("pods/web",)])
def test_a_pod_is_found_by_its_name_and_namespace(tmp_path: Path, words: tuple[str, ...]) -> None:
    with shell(tmp_path, cluster()) as sh:
        assert "default/web" in sh.prints("explain", *words)


def test_the_namespace_is_that_of_the_kubeconfig_unless_told(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        full_with_pool(server)
        item = pod("web")
        server.create(PODS, {**item, "metadata": {**item["metadata"], "namespace": "team"}})

    with shell(tmp_path, before, namespace="team") as sh:
        assert "team/web" in sh.prints("explain", "web")
        assert "team/web" in sh.prints("explain", "web", "--kubeconfig", str(sh.kubeconfig))
        assert "namespace 'default'" in sh.fails("explain", "web", "-n", "default")


def test_an_unknown_pod_is_told_in_a_sentence(tmp_path: Path) -> None:
    with shell(tmp_path, cluster()) as sh:
        assert sh.fails("explain", "nobody") == (
            "there is no pod 'nobody' in namespace 'default': check the name, and --namespace"
        )


def test_what_was_probably_meant_is_named(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        full_with_pool(server)
        for name in ("chat-5d9-a", "chat-5d9-b"):
            server.create(PODS, pod(name))
        item = pod("away")
        server.create(PODS, {**item, "metadata": {**item["metadata"], "namespace": "team"}})

    with shell(tmp_path, before) as sh:
        assert sh.fails("explain", "chat").endswith(". Pods that begin so: chat-5d9-a, chat-5d9-b")
        assert sh.fails("explain", "away").endswith(". A pod of that name is in team")
        assert sh.fails("explain", "inference").endswith(
            ". inference is a ComputePool: see `computepool status inference`"
        )


def test_a_pod_that_has_ended_says_how(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        full_with_pool(server)
        server.create(PODS, {**pod("done", on="a1"), "status": {"phase": "Succeeded"}})
        failed = {"phase": "Failed", "reason": "UnexpectedAdmissionError", "message": "no devices"}
        server.create(PODS, {**pod("failed", on="a1"), "status": failed})

    with shell(tmp_path, before) as sh:
        done = sh.prints("explain", "done")
        assert "It has ended, so nothing is decided about it." in done
        assert "Its phase is Succeeded." in done
        assert "Its phase is Failed (UnexpectedAdmissionError: no devices)." in sh.prints("explain", "failed")


def test_a_pod_that_this_version_cannot_read_is_told(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        cluster()(server)
        item = pod("odd")
        item["spec"]["containers"][0]["resources"] = {"requests": {"nvidia.com/gpu": "many"}}
        server.create(PODS, item)

    with shell(tmp_path, before) as sh:
        assert sh.fails("explain", "odd").startswith("this version can't read the pod, so the operator leaves it out: ")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("a/b/c/d",), "'a/b/c/d' names no pod. Give NAME, NAMESPACE/NAME, pod/NAME or NAMESPACE/pod/NAME"),
        (("deploy/web",), "'deploy/web' names a Deployment, and explain is about a single pod."),
        (("default/web", "-n", "team"), "'default/web' is in namespace default, and --namespace says team"),
    ],
)
def test_what_names_no_pod_is_a_wrong_use_of_the_command(tmp_path: Path, words: tuple[str, ...], says: str) -> None:
    with shell(tmp_path, cluster()) as sh:
        ended = sh.run("explain", *words)
        assert ended.exit_code == 2
        assert says in " ".join(ended.stderr.replace("│", " ").split())


# -- rights


def refuse(server: FakeApiServer, *lists: str) -> None:
    """Refuse lists whose path is one of these."""
    for path in lists:
        resource = path.rpartition("/")[2]
        message = f'{resource} is forbidden: User "jane" cannot list resource "{resource}" at the cluster scope'
        server.fault("list", path=path, times=99, status=403, message=message)


def partly(sh: Shell, name: str) -> tuple[str, str]:
    """What it prints, and what it says is missing, of a command that could not read all of the cluster."""
    ended = sh.run("explain", name)
    assert ended.exit_code == 1, ended.output
    assert "Traceback" not in ended.stderr
    return ended.stdout, " ".join(ended.stderr.split())


@pytest.mark.parametrize("resource", [NODES, COMPUTEPOOLS])
def test_without_a_right_it_says_what_it_knows_and_which_right_is_missing(tmp_path: Path, resource: str) -> None:
    gate = {"schedulingGates": [{"name": "kueue.x-k8s.io/admission"}]}
    with shell(tmp_path, cluster(**gate)) as sh:
        sh.server.do(lambda server: refuse(server, resource))
        said, missing = partly(sh, "web")
    assert said.startswith("default/web  1 nvidia.com/gpu  priority 0")
    assert "Has waited for" in said
    assert "There is no verdict, because not all of the cluster may be read." in said
    assert ("removed by Kueue" in said) == (resource == NODES), "its pool is known"
    assert f'cannot list resource "{resource.rpartition("/")[2]}" at the cluster scope.' in missing
    assert (
        "This command needs the right to list computepools, namespaces, nodes and pods in the whole cluster" in missing
    )
    assert "the ClusterRole computepool-explainer" in missing
    assert "exec deploy/computepool -- computepool explain default/web" in missing
    assert "cleanup" not in missing
    assert "signals" not in missing


def test_a_right_that_the_answer_does_not_need_is_not_missed(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        cluster(pool={"workloads": {"podSelector": {"matchLabels": {"app": "other"}}}})(server)
        server.create(PODS, {**pod("done", on="a1"), "status": {"phase": "Succeeded"}})
        refuse(server, NODES)

    with shell(tmp_path, before) as sh:
        assert "its podSelector wants app=other" in sh.prints("explain", "web")
        assert "Its phase is Succeeded." in sh.prints("explain", "done")


def test_who_may_only_list_pods_of_the_namespace_is_told_so(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        cluster(on="n1")(server)
        message = 'pods is forbidden: User "jane" cannot list resource "pods" at the cluster scope'
        # The namespace's own list comes first.
        server.fault("list", path="/namespaces/default/pods")
        server.fault("list", path=PODS, times=9, status=403, message=message)

    with shell(tmp_path, before) as sh:
        said, missing = partly(sh, "web")
    assert "Runs on node n1." in said
    assert "See `computepool status inference`." in said
    assert 'cannot list resource "pods" at the cluster scope' in missing


@pytest.mark.parametrize("readable", [True, False])
def test_without_the_other_namespaces_it_decides_by_this_one(tmp_path: Path, readable: bool) -> None:
    selector = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}}

    def before(server: FakeApiServer) -> None:
        cluster(pool={"workloads": selector})(server)
        # The list of the namespace's pods comes first, and its path begins with that of the namespaces.
        server.fault("list", path="/namespaces/default/pods")
        refuse(server, NAMESPACES)
        if not readable:
            server.fault("get", path=f"{NAMESPACES}/default", times=9, status=403)

    with shell(tmp_path, before) as sh:
        said, missing = partly(sh, "web")
    assert "About to be sent to nebius." in said
    assert "Pods of other namespaces that wait too are not counted" in said
    assert 'cannot list resource "namespaces"' in missing


def test_without_the_right_to_list_pods_anywhere_nothing_can_be_said(tmp_path: Path) -> None:
    with shell(tmp_path, cluster()) as sh:
        sh.server.do(lambda server: refuse(server, "/pods"))
        assert 'cannot list resource "pods"' in sh.fails("explain", "web")


def test_objects_that_can_not_be_read_do_not_stand_in_the_way(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        cluster()(server)
        server.create(COMPUTEPOOLS, {"metadata": {"name": "odd"}})
        server.create(PODS, {"metadata": {"name": "odd", "namespace": "default"}, "spec": {"containers": "none"}})
        server.create(NODES, {"metadata": {"name": "odd"}, "status": {"allocatable": {"cpu": "many"}}})

    assert "About to be sent to nebius." in explained(tmp_path, "web", before)


def test_nothing_is_written(tmp_path: Path) -> None:
    with shell(tmp_path, cluster()) as sh:
        sh.prints("explain", "web")
        sh.prints("status")
        assert {call.verb for call in sh.server.do(lambda server: list(server.calls))} == {"list", "get"}
