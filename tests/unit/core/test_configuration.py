"""The manifest held against the cluster: what is found, of which nodes, and the command that mends it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from computepool.assess.capacity.fit import Packer, label_keys
from computepool.assess.capacity.providers import providers_of
from computepool.assess.configuration.commands import add_label
from computepool.assess.configuration.finding import Finding, Severity
from computepool.decide.reconcile import reconcile
from computepool.model.api import PROVIDER_KEY, UNAVAILABLE_KEY, ComputePool
from computepool.model.cluster import Node, Pod
from computepool.model.labels import Requirement, Selector
from computepool.model.reasons import Reason
from computepool.model.snapshot import Selection
from computepool.model.state import Memory, PoolState
from computepool.model.taints import Taint, Toleration, tolerated
from tests.builders import GPU, NOW, node, pod, pool, provider, shape, snapshot, standby_taint

TEAM = Taint("example.com/team", "vision", "NoSchedule")
OF_TEAM = Toleration("example.com/team", "Equal", "vision", "NoSchedule")
OF_GPUS = Taint(GPU, "", "NoSchedule")
TOLERATES_GPUS = Toleration(GPU, "Exists")
LIQO = {"key": "liqo", "operator": "Equal", "value": "true", "effect": "NoExecute"}
TWO = pool(provider("aws"), provider("nebius"))
HOME = node("a1")
WEB = pod("web", on="a1")


def found(nodes: Sequence[Node], pods: Sequence[Pod] = (WEB,), of: ComputePool = TWO, **seen: Any) -> list[Finding]:
    made = reconcile(snapshot(of, nodes, pods, **seen), PoolState(), NOW)
    return list(made.assessment.configuration.findings)


def reasons(nodes: Sequence[Node], pods: Sequence[Pod] = (WEB,), of: ComputePool = TWO, **seen: Any) -> list[Reason]:
    return [finding.reason for finding in found(nodes, pods, of, **seen)]


def nebius(*taints: Taint, name: str = "n1", **how: Any) -> Node:
    """A node of the standby with these taints alone."""
    return node(name, of="nebius", tainted=False, taints=taints, **how)


def tolerant(name: str, *tolerations: Toleration, **how: Any) -> Pod:
    return pod(name, shaped=shape(1, tolerations=tolerations), **how)


# -- standbys that anybody may use


@pytest.mark.parametrize(
    "taints",
    [
        (),
        (Taint(PROVIDER_KEY, "nebius", "PreferNoSchedule"),),
        # These come and go.
        (Taint("node.kubernetes.io/unschedulable", "", "NoSchedule"),),
        (Taint(UNAVAILABLE_KEY, "NodeSilent", "NoSchedule"),),
        (Taint("karpenter.sh/disrupted", "", "NoSchedule"),),
    ],
)
def test_a_standby_without_a_lasting_taint_is_told(taints: tuple[Taint, ...]) -> None:
    (finding,) = found([HOME, nebius(*taints), node("n2")])
    assert (finding.reason, finding.severity, finding.names) == (
        Reason.STANDBY_NOT_TAINTED,
        Severity.FAULT,
        ("n1",),
    )
    assert finding.mend == "`kubectl taint nodes n1 computepool.io/provider=nebius:NoSchedule --overwrite`"


def test_a_taint_that_pods_tolerate_which_were_not_sent_keeps_nobody_off() -> None:
    gpus = [node("a1", taints=[OF_GPUS]), nebius(OF_GPUS)]
    assert reasons(gpus, [tolerant("web", TOLERATES_GPUS, on="a1")]) == [Reason.STANDBY_NOT_TAINTED]
    # Without pods, the next pods are taken to tolerate what the primary's nodes carry.
    assert reasons(gpus, []) == [Reason.STANDBY_NOT_TAINTED]


def test_a_pod_that_has_chosen_the_standby_makes_the_taint_no_worse() -> None:
    sent = pod("sent", on="n1", sent=[("nebius", NOW)])
    everywhere = tolerant("agent", Toleration("", "Exists"), on="n1")
    narrow = tolerant("narrow", Toleration(PROVIDER_KEY, "Equal", "nebius"), on="n1")
    assert reasons([HOME, node("n1")], [WEB, sent, everywhere, narrow]) == []


def test_any_taint_that_the_provider_tolerates_will_do() -> None:
    liqo = pool(provider("aws"), provider("nebius", tolerations=[LIQO]))
    tainted = nebius(Taint("liqo", "true", "NoExecute"))
    assert reasons([HOME, tainted], of=liqo) == []
    assert reasons([HOME, tainted], [], liqo) == []


def test_of_two_tolerations_a_taint_that_pods_tolerate_by_themselves_does_not_do() -> None:
    both = pool(
        provider("aws"),
        provider("nebius", tolerations=[{"key": GPU, "operator": "Exists"}, {"key": "liqo", "operator": "Exists"}]),
    )
    web = tolerant("web", TOLERATES_GPUS, on="a1")
    assert reasons([HOME, nebius(OF_GPUS)], [web], both) == [Reason.STANDBY_NOT_TAINTED]
    assert reasons([HOME, nebius(OF_GPUS, Taint("liqo", "", "NoSchedule"))], [web], both) == []


@pytest.mark.parametrize("value", ["present", ""])
def test_the_command_names_a_taint_that_no_pod_tolerates_by_itself(value: str) -> None:
    tolerations = [
        {"key": GPU, "operator": "Exists"},
        {"key": PROVIDER_KEY, "operator": "Equal", "value": "nebius", "effect": "NoSchedule"},
    ]
    of = pool(provider("aws"), provider("nebius", tolerations=tolerations))
    nodes = [node("a1", taints=[Taint(GPU, "present", "NoSchedule")]), nebius(Taint(GPU, value, "NoSchedule"))]
    for pods in ([tolerant("web", TOLERATES_GPUS, on="a1")], []):
        (finding,) = found(nodes, pods, of)
        assert finding.mend == "`kubectl taint nodes n1 computepool.io/provider=nebius:NoSchedule --overwrite`"


def test_a_provider_whose_tolerations_tolerate_no_taint_that_would_do_needs_another_toleration() -> None:
    soft = [{"key": "dedicated", "operator": "Exists", "effect": "PreferNoSchedule"}]
    of = pool(provider("aws"), provider("nebius", tolerations=soft))
    (finding,) = found([HOME, nebius()], of=of)
    assert (finding.reason, "spec.providers[1].tolerations" in finding.mend) == (Reason.STANDBY_NOT_TAINTED, True)
    assert "kubectl" not in finding.mend
    (finding,) = found([HOME, nebius(Taint("dedicated", "", "NoSchedule"))], of=of)
    assert finding.reason is Reason.STANDBY_TAINT_NOT_TOLERATED
    assert '{"key":"dedicated","operator":"Equal","effect":"NoSchedule"}' in finding.mend


_OWN_TOLERATIONS = [
    {"key": GPU, "operator": "Exists"},
    {"key": "dedicated", "operator": "Equal", "value": "x", "effect": "PreferNoSchedule"},
    {"key": "dedicated", "operator": "Equal", "value": "x"},
    LIQO,
    {"key": PROVIDER_KEY, "operator": "Equal", "value": "nebius", "effect": "NoSchedule"},
]
_OF_PODS = [
    TOLERATES_GPUS,
    Toleration("dedicated", "Exists"),
    Toleration("liqo", "Exists"),
    Toleration(PROVIDER_KEY, "Equal", "nebius"),
]


@given(
    st.lists(st.sampled_from(_OWN_TOLERATIONS), unique_by=str, min_size=1, max_size=3),
    st.lists(st.lists(st.sampled_from(_OF_PODS), unique=True, max_size=2), max_size=3),
    st.booleans(),
)
def test_once_its_command_is_run_a_standby_without_a_taint_is_told_no_more(
    tolerations: list[dict[str, str]], own: list[list[Toleration]], gpus: bool
) -> None:
    of = pool(provider("aws"), provider("nebius", tolerations=tolerations))
    pods = [tolerant(f"p{number}", *of_pod) for number, of_pod in enumerate(own)]
    before = (OF_GPUS,) if gpus else ()
    untainted = Reason.STANDBY_NOT_TAINTED
    mends = [one.mend for one in found([HOME, nebius(*before)], pods, of) if one.reason is untainted]
    for key, value, effect in re.findall(r"taint nodes n1 ([^=: ]+)=?([^: ]*):(\w+) ", " ".join(mends)):
        taint = Taint(key, value, effect)
        assert tolerated((taint,), providers_of(of)[1].tolerations)
        assert untainted not in reasons([HOME, nebius(*before, taint)], pods, of)
        assert not mends[0].startswith("No taint")


@pytest.mark.parametrize("how", [{"gpus": 0}, {"deleting": True}])
def test_nodes_that_no_pod_could_use_need_no_taint(how: dict[str, Any]) -> None:
    assert Reason.STANDBY_NOT_TAINTED not in reasons([HOME, node("n2"), nebius(**how)])


def test_many_nodes_are_selected_by_their_labels() -> None:
    nodes = [nebius(name=f"n{number}") for number in range(6)]
    (finding,) = found([HOME, *nodes])
    assert finding.mend.startswith("`kubectl taint nodes --selector computepool.io/provider=nebius computepool.io/")
    assert len(finding.names) == 6


def test_nodes_that_two_providers_claim_are_named_because_their_labels_select_others_too() -> None:
    of = pool(provider("aws"), provider("nebius"), provider("crusoe", labels={"zone": "b"}))
    nodes = [nebius(name=f"n{number}", labels={"zone": "b"}) for number in range(6)]
    twice, untainted = found([HOME, *nodes], of=of)[:2]
    assert (twice.reason, untainted.reason) == (Reason.NODES_CLAIMED_TWICE, Reason.NO_NODES_MATCH)
    (untainted,) = [one for one in found([HOME, *nodes], of=of) if one.reason is Reason.STANDBY_NOT_TAINTED]
    assert untainted.mend.startswith("`kubectl taint nodes n0 n1 n2 n3 n4 computepool.io/")


# -- nodes that no pod of the pool may use


@pytest.mark.parametrize("pods", [(WEB,), ()], ids=["with-pods", "without-pods"])
@pytest.mark.parametrize(
    ("taints", "changes"),
    [
        ((Taint(PROVIDER_KEY, "nebius1", "NoSchedule"),), "nodes n1 computepool.io/provider=nebius:NoSchedule --over"),
        (
            (Taint(PROVIDER_KEY, "nebius", "NoExecute"),),
            "nodes n1 computepool.io/provider=nebius:NoSchedule computepool.io/provider:NoExecute- --overwrite",
        ),
        (
            (standby_taint("nebius"), TEAM),
            '"path":"/spec/providers/1/tolerations","value":[{"key":"computepool.io/provider","operator":"Equal",'
            '"value":"nebius","effect":"NoSchedule"},{"key":"example.com/team","operator":"Equal","value":"vision",'
            '"effect":"NoSchedule"}]}]',
        ),
    ],
)
def test_a_standby_taint_that_no_pod_tolerates_is_told(
    taints: tuple[Taint, ...], changes: str, pods: tuple[Pod, ...]
) -> None:
    (finding,) = found([HOME, nebius(*taints)], pods)
    # The next pods of a pool without pods may tolerate a foreign taint.
    severity = Severity.NOTICE if TEAM in taints and not pods else Severity.FAULT
    assert (finding.reason, finding.severity) == (Reason.STANDBY_TAINT_NOT_TOLERATED, severity)
    assert changes in finding.mend
    assert finding.names == ("n1",)
    assert ("no pods that show" in finding.mend) == (severity is Severity.NOTICE)


def test_a_foreign_taint_makes_no_node_unusable_while_no_pod_shows_what_it_tolerates() -> None:
    def unusable(pods: Sequence[Pod], *taints: Taint) -> object:
        made = reconcile(snapshot(TWO, [HOME, nebius(*taints)], pods), PoolState(), NOW)
        return made.assessment.configuration.unusable.get("nebius", frozenset())

    assert unusable([WEB], standby_taint("nebius"), TEAM) == {"n1"}
    assert unusable([], standby_taint("nebius"), TEAM) == frozenset()
    # A wrong taint of our own key is a mistake, whatever the next pods tolerate.
    assert unusable([], Taint(PROVIDER_KEY, "nebius1", "NoSchedule")) == {"n1"}


def test_a_taint_that_any_pod_of_the_pool_tolerates_is_no_mistake() -> None:
    assert reasons([HOME, node("n1", taints=[TEAM])], [WEB, tolerant("vision", OF_TEAM)]) == []


def test_a_taint_named_for_the_accelerator_is_taken_to_be_tolerated_by_the_next_pods() -> None:
    assert reasons([HOME, node("n1", taints=[OF_GPUS])], []) == []
    assert reasons([HOME, node("n1", taints=[OF_GPUS])]) == [Reason.STANDBY_TAINT_NOT_TOLERATED]


def test_a_node_that_is_reserved_for_others_is_a_notice() -> None:
    (finding,) = found([HOME, node("n1", taints=[TEAM]), node("n2")])
    assert (finding.severity, finding.names) == (Severity.NOTICE, ("n1",))
    # A wrong taint of our own key is a mistake on any node.
    (finding,) = found([HOME, nebius(Taint(PROVIDER_KEY, "nebius1", "NoSchedule")), node("n2")])
    assert (finding.severity, finding.names) == (Severity.FAULT, ("n1",))


def test_a_foreign_taint_of_a_new_node_may_be_a_startup_taint_and_a_wrong_taint_of_our_own_is_none() -> None:
    assert reasons([HOME, node("n1", taints=[TEAM], created=NOW - 10)]) == []
    wrong = nebius(Taint(PROVIDER_KEY, "nebius1", "NoSchedule"), created=NOW - 10)
    assert reasons([HOME, wrong]) == [Reason.STANDBY_TAINT_NOT_TOLERATED]


def test_each_set_of_wrong_taints_has_its_own_command() -> None:
    nodes = [HOME, nebius(Taint(PROVIDER_KEY, "x", "NoExecute")), node("n2", taints=[TEAM])]
    assert [finding.names for finding in found(nodes)] == [("n1",), ("n2",)]


def test_a_node_that_is_starting_is_judged_once_its_time_is_over() -> None:
    starts = nebius(Taint("readiness.k8s.io/network", "", "NoSchedule"), created=NOW - 10)
    assert reasons([HOME, starts, node("n2")]) == []
    later = reconcile(
        snapshot(TWO, [HOME, starts, node("n2")], [WEB]), PoolState(memory=Memory(starting_since={"n1": NOW - 61})), NOW
    )
    (finding,) = later.assessment.configuration.findings
    assert (finding.reason, finding.names) == (Reason.STANDBY_NOT_TAINTED, ("n1",))


def test_taints_that_differ_on_every_node_are_told_a_few_at_once() -> None:
    nodes = [node(f"n{number}", taints=[Taint("host", f"n{number}", "NoSchedule")]) for number in range(9)]
    assert len(found([HOME, *nodes])) == 3


def test_a_primary_whose_taint_no_pod_tolerates_is_told() -> None:
    sent = pod("web", on="n1", sent=[("nebius", NOW)])
    (finding,) = found([node("a1", taints=[TEAM]), node("n1")], [sent])
    assert (finding.reason, finding.severity, finding.names) == (
        Reason.PRIMARY_TAINT_NOT_TOLERATED,
        Severity.FAULT,
        ("a1",),
    )
    assert finding.mend.startswith("`kubectl taint nodes a1 example.com/team:NoSchedule-`")
    assert reasons([node("a1", taints=[TEAM]), node("n1")], [sent, tolerant("vision", OF_TEAM)]) == []
    # Its next pods may tolerate it.
    assert reasons([node("a1", taints=[TEAM]), node("n1")], []) == []


_TAINTS = [standby_taint("nebius"), standby_taint("crusoe"), TEAM, OF_GPUS, Taint("x", "", "PreferNoSchedule")]
_TOLERATIONS = [TOLERATES_GPUS, OF_TEAM, Toleration(PROVIDER_KEY, "Equal", "crusoe", "NoSchedule")]


@given(
    st.lists(st.lists(st.sampled_from(_TAINTS), unique=True, max_size=3), min_size=1, max_size=4),
    st.lists(st.lists(st.sampled_from(_TOLERATIONS), unique=True, max_size=2), min_size=1, max_size=4),
)
def test_findings_agree_with_where_pods_fit(taints: list[list[Taint]], own: list[list[Toleration]]) -> None:
    """A standby's node is told as untainted if a pod fits there as it is, and as not tolerated if none fits there."""
    nodes = [HOME, *(nebius(*on_node, name=f"n{number}") for number, on_node in enumerate(taints))]
    pods = [tolerant(f"p{number}", *tolerations) for number, tolerations in enumerate(own)]
    made = reconcile(snapshot(TWO, nodes, pods), PoolState(), NOW).assessment
    told = {
        reason: {name for one in made.configuration.findings if one.reason is reason for name in one.names}
        for reason in (Reason.STANDBY_NOT_TAINTED, Reason.STANDBY_TAINT_NOT_TOLERATED)
    }
    standby = made.supplies[1]

    def taken(*, as_is: bool) -> set[str]:
        names = set()
        for one in pods:
            packer = Packer(standby, GPU, label_keys(pods), NOW)
            while packer.place(one.shape, as_is=as_is):
                pass
            names |= {info.node.name for info, left in packer.remainders() if left[GPU] < info.left[GPU]}
        return names

    everyone = {info.node.name for info in standby.nodes}
    assert told[Reason.STANDBY_NOT_TAINTED] == taken(as_is=True)
    if len({str(sorted(map(str, one))) for one in taints}) <= 3:
        assert told[Reason.STANDBY_TAINT_NOT_TOLERATED] == everyone - taken(as_is=False)
    assert made.configuration.unusable.get("nebius", frozenset()) == everyone - taken(as_is=False)


# -- nodes


def test_nodes_that_two_providers_claim_are_left_to_the_second_by_the_command() -> None:
    of = pool(provider("aws"), provider("again", labels={"zone": "b"}))
    finding = found([node("a2", labels={"zone": "b"}), HOME], of=of)[0]
    assert (finding.reason, finding.names) == (Reason.NODES_CLAIMED_TWICE, ("a2",))
    assert finding.mend.startswith("To leave them to again: `kubectl patch computepool inference --type json")
    assert '"/spec/providers/0/nodeSelector/matchExpressions","value":[{"key":"zone","operator":"NotIn"' in finding.mend


def test_an_accelerator_that_the_nodes_offer_instead_is_named_in_the_command() -> None:
    of = pool(provider("aws"), provider("nebius"), accelerator={"resourceName": "amd.com/gpu"})
    (finding,) = found([HOME, node("n1")], [], of)
    assert (finding.reason, finding.names) == (Reason.ACCELERATOR_NOT_FOUND, ("a1", "n1"))
    assert '{"spec":{"accelerator":{"resourceName":"nvidia.com/gpu"}}}' in finding.mend


def test_nodes_of_a_standby_that_never_got_devices_are_told_after_their_time() -> None:
    bare = node("n1", 0, created=NOW - 61)
    (finding,) = found([HOME, bare, node("n2")])
    assert (finding.reason, finding.severity, finding.names) == (Reason.NO_DEVICES_ON_NODE, Severity.NOTICE, ("n1",))
    assert '{"key":"computepool.io/provider","operator":"Exists"}' in finding.mend
    assert found([HOME, bare])[0].severity is Severity.FAULT
    assert reasons([HOME, node("n1", 0, created=NOW - 61, ready="False"), node("n2")]) == []
    # The primary may have nodes for other purposes.
    assert reasons([HOME, node("a2", 0, created=NOW - 61), node("n2")]) == []


def test_a_node_that_just_joined_has_its_time_and_the_pool_is_looked_at_after_it() -> None:
    seen = snapshot(TWO, [HOME, node("n1", 0, created=NOW - 20), node("n2")], [WEB])
    configuration = reconcile(seen, PoolState(), NOW).assessment.configuration
    assert configuration.findings == ()
    assert configuration.recheck_at == NOW + 40


def test_nodes_without_devices_may_lack_nothing_and_the_text_says_what_to_do_then() -> None:
    (finding,) = found([HOME, node("n1", 0, created=NOW - 61), node("n2")])
    assert (
        "Leave nodes without accelerators, and nodes that DRA serves, out of the provider's nodeSelector"
        in finding.mend
    )
    assert "DRA" in finding.reason.help


def test_the_command_adds_to_the_tolerations_of_a_daemon_set_whether_or_not_it_has_any() -> None:
    (finding,) = found([HOME, node("n1", 0, created=NOW - 61), node("n2")])
    added = '[{"key":"computepool.io/provider","operator":"Exists"}]'
    # jq adds a list to null, and a JSON patch adds no entry to a list that is not there.
    assert f"| jq '.spec.template.spec.tolerations += {added}' | kubectl replace --filename -`" in finding.mend


@pytest.mark.parametrize(("standbys", "last"), [(("nebius",), True), (("nebius", "crusoe"), False)])
def test_a_standby_that_was_drained_and_then_lost_its_nodes_is_to_be_removed_from_the_spec(
    standbys: tuple[str, ...], last: bool
) -> None:
    def of(*, drain: bool) -> ComputePool:
        return pool(provider("aws"), *(provider(name, drain=drain and name == "nebius") for name in standbys))

    nodes = [HOME, node("c1")]
    assert [one.severity for one in found(nodes, of=of(drain=False)) if one.provider == "nebius"] == [Severity.FAULT]
    (finding,) = found(nodes, of=of(drain=True))
    assert (finding.reason, finding.severity) == (Reason.NO_NODES_MATCH, Severity.NOTICE)
    assert finding.mend.startswith("If it is not used any more, remove it from spec.providers")
    # A pool has at least one standby.
    assert ("another standby" in finding.mend) == last


def test_a_primary_without_nodes_is_a_fault_also_while_it_is_drained() -> None:
    (finding,) = found([node("n1")], [], pool(provider("aws", drain=True), provider("nebius")))
    assert (finding.reason, finding.severity) == (Reason.NO_NODES_MATCH, Severity.FAULT)


_RIGHT = "If the selector is right: "
_LOOK = "Look at the labels: `kubectl get nodes --show-labels`"


@pytest.mark.parametrize(
    ("needs", "command"),
    [
        (
            [("gpu", "In", "yes"), ("zone", "In", "b")],
            f"{_RIGHT}`kubectl label nodes NODE gpu=yes zone=b --overwrite`",
        ),
        ([("zone", "In", "a", "b")], f"{_RIGHT}`kubectl label nodes NODE zone=a --overwrite`"),
        ([("gpu", "Exists")], f"{_RIGHT}`kubectl label nodes NODE gpu= --overwrite`"),
        # A node may match the first of them with another value, which it keeps.
        ([("zone", "In", "a", "b"), ("gpu", "In", "yes")], _LOOK),
        ([("zone", "Exists"), ("gpu", "In", "yes")], _LOOK),
        ([("zone", "NotIn", "b")], _LOOK),
        # Kubernetes and clouds set these.
        ([("kubernetes.io/hostname", "In", "n1")], _LOOK),
        ([("gpu", "In", "yes"), ("topology.kubernetes.io/zone", "In", "b")], _LOOK),
        (
            [("example.com/kubernetes.io", "In", "yes")],
            f"{_RIGHT}`kubectl label nodes NODE example.com/kubernetes.io=yes --overwrite`",
        ),
    ],
)
def test_the_command_gives_a_node_only_labels_that_are_free_to_give(needs: list[tuple[str, ...]], command: str) -> None:
    selector = Selector(tuple(Requirement(key, operator, tuple(values)) for key, operator, *values in needs))
    assert add_label("nodes", "NODE", selector).startswith(command)


# -- workloads and settings


@pytest.mark.parametrize(
    ("selection", "reason", "severity"),
    [
        (Selection(namespaces=False), Reason.NO_NAMESPACE_MATCHES, Severity.FAULT),
        (Selection(), Reason.NO_PODS_MATCH, Severity.INFORMATION),
        (Selection(pods=True), Reason.ACCELERATOR_NOT_REQUESTED, Severity.INFORMATION),
        (Selection(pods=True, requested=("amd.com/gpu",)), Reason.ACCELERATOR_NOT_REQUESTED, Severity.NOTICE),
    ],
)
def test_selectors_that_find_nothing_are_told(selection: Selection, reason: Reason, severity: Severity) -> None:
    (finding,) = found([HOME, node("n1")], [], selection=selection)
    assert (finding.reason, finding.severity) == (reason, severity)


def test_the_command_labels_a_namespace() -> None:
    of = pool(provider("aws"), provider("nebius"), workloads={"namespaceSelector": {"matchLabels": {"team": "ml"}}})
    (finding,) = found([HOME, node("n1")], [], of, selection=Selection(namespaces=False))
    assert finding.mend == f"{_RIGHT}`kubectl label namespaces NAMESPACE team=ml --overwrite`"


def test_a_namespace_that_is_selected_by_its_name_is_made() -> None:
    by_name = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ml"}}}
    of = pool(provider("aws"), provider("nebius"), workloads=by_name)
    (finding,) = found([HOME, node("n1")], [], of, selection=Selection(namespaces=False))
    assert finding.mend == "`kubectl create namespace ml`"


def test_silent_seconds_below_two_heartbeats_are_told() -> None:
    of = pool(provider("aws"), provider("nebius"), health={"silentSeconds": 10})
    nodes = [HOME, node("n1")]
    (finding,) = found(nodes, of=of, heartbeat_interval=10.2)
    assert (finding.reason, finding.severity) == (Reason.SILENT_SECONDS_TOO_SHORT, Severity.FAULT)
    assert "after 21 s" in finding.what
    assert '{"spec":{"health":{"silentSeconds":26}}}' in finding.mend
    assert reasons(nodes, heartbeat_interval=10.2) == []
    assert reasons(nodes, of=of) == []


def test_a_removal_taint_that_all_nodes_carry_and_pods_tolerate_is_told() -> None:
    of = pool(provider("aws"), provider("nebius"), health={"removalTaints": ["example.com/team", "spot"]})
    nodes = [node("a1", taints=[TEAM]), node("a2", taints=[TEAM]), node("n1")]
    (finding,) = found(nodes, [tolerant("web", OF_TEAM, on="a1")], of)
    assert (finding.reason, finding.provider) == (Reason.REMOVAL_TAINT_IS_OWN, "aws")
    assert '{"spec":{"health":{"removalTaints":["spot"]}}}' in finding.mend
    assert reasons(nodes, of=of) == []
    assert reasons([*nodes, node("a3")], [tolerant("web", OF_TEAM, on="a1")], of) == []


# -- what always holds


def test_a_view_that_is_not_current_shows_no_difference() -> None:
    assert reasons([HOME, nebius()], stale="nodes are not listed yet") == []


def test_what_pages_comes_first() -> None:
    nodes = [HOME, nebius(), node("n2", taints=[TEAM]), node("n3", 0, created=0)]
    of = pool(provider("aws"), provider("nebius"), provider("crusoe"))
    severities = [finding.severity for finding in found(nodes, of=of)]
    assert severities == sorted(severities)
    assert len(severities) == 4


@given(st.permutations([HOME, nebius(), nebius(TEAM, name="n2"), nebius(name="n3"), node("n4", taints=[TEAM])]))
def test_findings_do_not_depend_on_the_order_of_nodes(nodes: list[Node]) -> None:
    """So the status stays the same while nothing changes."""
    assert found(nodes) == found(sorted(nodes, key=lambda one: one.name))
