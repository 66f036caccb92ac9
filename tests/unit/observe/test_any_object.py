"""Whatever pods and nodes hold that a user or a node can write, a pass over them succeeds and can be reported."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from computepool.decide.reconcile import Reconciled, reconcile
from computepool.model.api import PROVIDER_KEY
from computepool.model.cluster import Node, Pod
from computepool.model.quantity import MAX_AMOUNT
from computepool.model.snapshot import Snapshot
from computepool.model.state import PoolState
from computepool.observe.constraints import MAX_REQUIREMENTS, MAX_VALUES
from computepool.observe.decode import MAX_ANNOTATION, Records, inexact_node, inexact_pod
from computepool.observe.failures import FailedPod, read_failed_pod
from computepool.report.event_recorder import EventRecorder
from computepool.report.metrics import Metrics
from computepool.report.pass_report import PassReport
from computepool.report.status import status_of
from tests.builders import GPU, NOW, namespace, pool, provider
from tests.unit.observe.storing import AT, filled

Json = dict[str, Any]

TIME = "2027-01-15T08:00:00Z"
QUANTITIES = st.one_of(
    st.sampled_from(
        ["0", "1", "8", "1e400", "-1e400", "1e-400", "9223372036854775808", "-3", "1E", "500m", "1e99999999999"]
    ),
    st.from_regex(r"[0-9]{1,30}(\.[0-9]{0,30})?([eE][+-]?[0-9]{1,12}|Ki|Ei|m|n|E)?", fullmatch=True),
    st.sampled_from(["NaN", "Infinity", "", "one"]),
)
TIMES = st.sampled_from([TIME, "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "1734-05-01T00:00:00Z"])
FREE_TIMES = st.one_of(TIMES, st.sampled_from(["", "soon", "+292277026596-12-04T15:30:07Z", "2027-01-15T08:00:00"]))
TEXT = st.one_of(st.text(max_size=20), st.sampled_from(["nebius", "NEBIUS,,", "true", "x" * 300_000, f"nebius={TIME}"]))
OFFERS = st.one_of(TEXT, TIMES.map(lambda at: f"nebius={at},crusoe={at}"), st.just(f"nebius={TIME}," * 20_000))
NODE_NAMES = st.sampled_from(["", "a1", "n1", "n2", "nowhere"])
STATE = st.fixed_dictionaries(
    {},
    optional={
        "waiting": st.fixed_dictionaries({"reason": st.sampled_from(["CrashLoopBackOff", "ContainerCreating", ""])}),
        "running": st.just({}),
        "terminated": st.fixed_dictionaries({"reason": st.just("StartError")}, optional={"startedAt": FREE_TIMES}),
    },
)
CONDITION = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["Ready", "PodScheduled", "XidErrors"]),
        "status": st.sampled_from(["True", "False", "?"]),
    },
    optional={"reason": st.sampled_from(["Unschedulable", "x" * 5_000]), "lastTransitionTime": FREE_TIMES},
)
POD = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries(
            {"name": st.just("p"), "namespace": st.just("default"), "resourceVersion": st.just("7")},
            optional={
                "creationTimestamp": TIMES,
                "deletionTimestamp": TIMES,
                "labels": st.dictionaries(st.sampled_from(["computepool.io/burst", "app"]), TEXT),
                "annotations": st.fixed_dictionaries(
                    {},
                    optional={
                        "computepool.io/offers": OFFERS,
                        "computepool.io/providers": TEXT,
                        "computepool.io/movable": TEXT,
                        "controller.kubernetes.io/pod-deletion-cost": TEXT,
                        "other": TEXT,
                    },
                ),
                "ownerReferences": st.just([{"kind": "Job", "uid": "j", "controller": True}]),
            },
        ),
        "spec": st.fixed_dictionaries(
            {
                "containers": st.lists(
                    st.fixed_dictionaries(
                        {
                            "resources": st.fixed_dictionaries(
                                {"requests": st.dictionaries(st.sampled_from([GPU, "cpu"]), QUANTITIES)}
                            )
                        }
                    ),
                    max_size=2,
                )
            },
            optional={
                "nodeName": NODE_NAMES,
                "priority": st.integers(-(2**31), 2**31 - 1),
                "tolerations": st.lists(
                    st.fixed_dictionaries(
                        {"operator": st.sampled_from(["Exists", "Equal"])},
                        optional={"key": st.just(PROVIDER_KEY), "tolerationSeconds": st.integers(-(2**63), 2**63 - 1)},
                    ),
                    max_size=2,
                ),
            },
        ),
        "status": st.fixed_dictionaries(
            {},
            optional={
                "phase": st.sampled_from(["Pending", "Running", "Failed"]),
                "reason": st.sampled_from(["", "ProviderFailed", "OutOfcpu", "Evicted"]),
                "startTime": FREE_TIMES,
                "nominatedNodeName": NODE_NAMES,
                "conditions": st.lists(CONDITION, max_size=2),
                "containerStatuses": st.lists(
                    st.fixed_dictionaries({}, optional={"state": STATE, "lastState": STATE}), max_size=2
                ),
            },
        ),
    }
)
AMOUNTS = st.dictionaries(st.sampled_from([GPU, "cpu", "pods"]), QUANTITIES)


def node_object(name: str, of: str, status: Json) -> Json:
    metadata = {"name": name, "uid": name, "resourceVersion": "7", "labels": {PROVIDER_KEY: of}}
    return {"metadata": metadata, "spec": {}, "status": status}


NODE = st.builds(
    node_object,
    st.just("n2"),
    st.sampled_from(["aws", "nebius"]),
    st.fixed_dictionaries(
        {}, optional={"allocatable": AMOUNTS, "capacity": AMOUNTS, "conditions": st.lists(CONDITION, max_size=2)}
    ),
)
GOOD = {
    "allocatable": {GPU: "8", "pods": "110"},
    "capacity": {GPU: "8"},
    "conditions": [{"type": "Ready", "status": "True"}],
}
POOL = pool(
    provider("aws"),
    provider("nebius", max_accelerators=8, price="2.95"),
    provider("crusoe", price="0.000001"),
    pending=0,
    budget={"perDay": "100"},
    failback={"mode": "WhenStable"},
)
READABLE = (msgspec.ValidationError, ValueError)


def read(items: list[Json]) -> list[Pod | Node | FailedPod]:
    """All that can be read. Objects that can't be read are told, and left out."""
    records, found = Records(), list[Pod | Node | FailedPod]()
    for number, item in enumerate(items):
        raw = msgspec.json.encode({**item, "metadata": {**item["metadata"], "uid": f"u{number}"}})
        try:
            if "containers" not in item["spec"]:
                found.append(records.node(raw))
            elif item["status"].get("phase") == "Failed":
                found.append(read_failed_pod(raw, records))
            else:
                found.append(records.pod(raw))
        except READABLE:
            continue
    return found


def decide(items: list[Json]) -> Reconciled:
    """One pass over these objects, and everything that is reported of it."""
    store = filled(POOL, namespace())
    for item in read([node_object("a1", "aws", GOOD), node_object("n1", "nebius", GOOD), *items]):
        match item:
            case FailedPod():
                store.put_failed_pod(item, AT, listed=True)
            case Pod():
                store.put_pod(item, AT)
            case Node():
                store.put_node(item, AT)
    snapshot: Snapshot = store.snapshot(POOL.name)
    outcome = reconcile(snapshot, PoolState(), NOW)
    outcome = reconcile(snapshot, outcome.state, NOW + 60)
    report = PassReport(snapshot, outcome.assessment, outcome.plan, outcome.state)
    status = status_of(report, POOL.status, datetime.fromtimestamp(NOW, UTC))
    metrics = Metrics()
    metrics.passed(report, status.conditions)
    recorder = EventRecorder(metrics, lambda _event: None)
    recorder.record_status(POOL, POOL.status, status)
    recorder.record_nodes(report, NOW)
    recorder.record_bursts(POOL, outcome.plan.bursts, 0.1)
    return outcome


def asking(amount: str, **spec: Any) -> Json:
    container = {"resources": {"requests": {GPU: amount}}}
    metadata = {"name": "p", "namespace": "default", "resourceVersion": "7", "creationTimestamp": TIME}
    return {"metadata": metadata, "spec": {"containers": [container], **spec}, "status": {}}


def required(terms: list[Json]) -> Json:
    """A pod's affinity to nodes."""
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}


@settings(max_examples=300)
@given(st.lists(st.one_of(POD, NODE), max_size=4))
@example([asking("1e400", nodeName="a1")])
@example([asking("1e400")])
@example([node_object("n2", "aws", {**GOOD, "allocatable": {GPU: "1e400"}})])
def test_no_object_fails_a_pass(items: list[Json]) -> None:
    decide(items)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["metadata", "spec", "status", "name", "uid"]), inner, max_size=4)
    ),
)


@given(JSON)
def test_any_json_is_either_read_or_refused_by_an_error_that_is_told(value: Any) -> None:
    records, raw = Records(), msgspec.json.encode(value)
    for reader in (records.pod, records.node, records.namespace, lambda data: read_failed_pod(data, records)):
        try:
            reader(raw)
        except READABLE:
            continue


@pytest.mark.parametrize(("node_name", "room"), [("a1", 0), ("", 8), ("nowhere", 8)])
def test_a_pod_that_requests_more_than_there_can_be_takes_nothing_but_its_own_node(node_name: str, room: int) -> None:
    outcome = decide([asking("1e400", nodeName=node_name), {**asking("1"), "spec": {**asking("1")["spec"]}}])
    primary = outcome.assessment.primary
    assert (primary.free // 1000, primary.allocated // 1000) == (room, 8 - room)
    # The other pod goes to a standby where the primary is full, and waits for the scheduler where it is not.
    assert len(outcome.plan.bursts) == (1 if not room else 0)


def test_amounts_that_are_capped_are_named() -> None:
    (pod_,) = read([asking("1e400")])
    (node_,) = read([node_object("n2", "aws", {"allocatable": {GPU: "1e400", "cpu": "4"}})])
    (well,) = read([asking("8")])
    assert isinstance(pod_, Pod)
    assert isinstance(well, Pod)
    assert isinstance(node_, Node)
    assert dict(pod_.shape.requests)[GPU] == MAX_AMOUNT
    assert inexact_pod(pod_) == inexact_node(node_) == f"{GPU} counts as 9223372036854775807, the largest amount"
    assert inexact_pod(well) == ""


EXPRESSION = {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["elsewhere"]}


@pytest.mark.parametrize(
    ("selectors", "unread"),
    [
        ({"nodeSelector": {f"label-{i}": "" for i in range(MAX_REQUIREMENTS)}}, []),
        ({"nodeSelector": {f"label-{i}": "" for i in range(MAX_REQUIREMENTS + 1)}}, ["nodeSelector"]),
        ({"affinity": required([{"matchExpressions": [EXPRESSION] * MAX_REQUIREMENTS}])}, []),
        ({"affinity": required([{"matchExpressions": [EXPRESSION]}] * (MAX_REQUIREMENTS + 1))}, ["nodeAffinity"]),
        ({"affinity": required([{}] * (MAX_REQUIREMENTS + 1))}, ["nodeAffinity"]),
        (
            {"affinity": required([{"matchExpressions": [EXPRESSION | {"values": ["x"] * (MAX_VALUES + 1)}]}])},
            ["nodeAffinity"],
        ),
    ],
)
def test_a_selector_that_is_too_long_counts_as_a_constraint_that_fit_does_not_model_and_is_named(
    selectors: dict[str, Any], unread: list[str]
) -> None:
    item = asking("1")
    (found,) = read([{**item, "spec": {**item["spec"], **selectors}}])
    assert isinstance(found, Pod)
    assert list(found.shape.unmodelled) == unread
    assert bool(found.shape.node_selector or found.shape.affinity) is not bool(unread)
    assert inexact_pod(found).split(":")[0] == "".join(unread)


@pytest.mark.parametrize("length", [MAX_ANNOTATION, MAX_ANNOTATION + 1])
def test_an_annotation_that_is_too_long_counts_as_empty(length: int) -> None:
    text = "nebius," + "x" * (length - len("nebius,"))
    annotations = {"computepool.io/providers": text, "computepool.io/offers": text, "other": "x" * 250_000}
    item = asking("1")
    (found,) = read([{**item, "metadata": {**item["metadata"], "annotations": annotations}}])
    assert isinstance(found, Pod)
    assert found.allows("nebius") is (length <= MAX_ANNOTATION)
    assert found.offers == ()


def test_negative_amounts_count_as_none() -> None:
    (found,) = read([node_object("n2", "aws", {"allocatable": {GPU: "-1e400", "cpu": "-3"}})])
    assert isinstance(found, Node)
    assert set(found.allocatable.values()) == {0}
    spec = {"containers": [{"resources": {"requests": {GPU: "-5"}}}, {"resources": {"requests": {GPU: "2"}}}]}
    (pod_,) = read([{**asking("1"), "spec": spec}])
    assert isinstance(pod_, Pod)
    assert dict(pod_.shape.requests)[GPU] == 2000
