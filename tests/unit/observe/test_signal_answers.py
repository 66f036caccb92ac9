"""The series of an answer are sorted by node, pod or pool, and a series that can't be used says why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from computepool.model.presets import Reads, Scope
from computepool.model.signals import Answer, Samples
from computepool.observe.signal_answers import answer_of, labels_of, sort_series
from computepool.prometheus.answers import Series

BY_NODE = Reads("q", Scope.NODE, node_labels=("node", "Hostname", "hostname"), lowest=0.0, highest=100.0)
BY_POD = Reads("q", Scope.POD, pod_labels=(("namespace", "pod"), ("kubernetes_namespace", "kubernetes_pod_name")))
WHOLE = Reads("q", Scope.POOL)


class Nodes:
    """A cluster of two nodes."""

    def is_node(self, name: str) -> bool:
        return name in ("a1", "a2")


def series(value: float | None, **labels: str) -> Series:
    return Series(labels, value)


def answer(reads: Reads, values: list[Series], ages: list[Series]) -> Answer:
    return answer_of(reads, sort_series(reads, values, ages, Nodes()), 100.0)


def left_out(reads: Reads, values: list[Series], ages: list[Series]) -> Mapping[str, int]:
    """Why series do not count, and how many."""
    return Counter(found.problem for found in sort_series(reads, values, ages, Nodes()) if found.problem)


def test_series_belong_to_the_node_that_their_first_label_names() -> None:
    values = [
        series(10.0, node="a1", gpu="0"),
        series(30.0, node="a1", gpu="1"),
        # The exporter does not know its node's name, the scrape does.
        series(20.0, node="a2", Hostname="localhost"),
        series(5.0, hostname="a2", gpu="1"),
        series(99.0, Hostname="dcgm-exporter-x7k2p"),
    ]
    ages = [series(3.0, node="a1"), series(7.0, node="a1", Hostname="other"), series(2.0, node="a2")]
    found = answer(BY_NODE, values, ages)
    assert found.nodes == {"a1": Samples((10.0, 30.0), 7.0), "a2": Samples((20.0, 5.0), 2.0)}
    assert left_out(BY_NODE, values, ages) == {"no label names a node of the cluster": 1}
    assert found.at == 100.0


def test_what_is_no_number_or_no_possible_value_is_no_sample() -> None:
    values = [series(None, node="a1"), series(-1.0, node="a1"), series(101.0, node="a1"), series(100.0, node="a1")]
    ages = [series(0.0, node="a1")]
    assert answer(BY_NODE, values, ages).nodes == {"a1": Samples((100.0,), 0.0)}
    assert left_out(BY_NODE, values, ages) == {"not a number": 1, "a value that this measure can't have": 2}


def test_a_series_without_an_age_is_no_sample() -> None:
    values, ages = [series(1.0, node="a1"), series(1.0, node="a2")], [series(None, node="a1")]
    assert answer(BY_NODE, values, ages).nodes == {}
    assert left_out(BY_NODE, values, ages) == {"the age of its samples is not known": 2}


def test_samples_that_belong_to_no_owner_are_part_of_the_age_of_all() -> None:
    values = [series(1.0, node="a1"), series(2.0, node="a2")]
    ages = [series(3.0, node="a1"), series(50.0), series(40.0, gpu="0"), series(5.0, node="a2")]
    assert answer(BY_NODE, values, ages).nodes == {"a1": Samples((1.0,), 50.0), "a2": Samples((2.0,), 50.0)}
    # Not the samples of a node that the cluster does not know.
    ages = [series(3.0, node="a1"), series(90.0, node="gone"), series(4.0)]
    assert answer(BY_NODE, values, ages).nodes == {"a1": Samples((1.0,), 4.0), "a2": Samples((2.0,), 4.0)}
    of_pods = answer(
        BY_POD, [series(1.0, namespace="ml", pod="s-0")], [series(9.0, namespace="ml"), series(2.0, pod="s-0")]
    )
    assert of_pods.pods == {"ml/s-0": Samples((1.0,), 9.0)}


def test_series_belong_to_the_pod_that_their_first_pair_of_labels_names() -> None:
    values = [
        series(1.0, namespace="ml", pod="s-0", engine="0"),
        series(2.0, namespace="ml", pod="s-0", engine="1"),
        series(3.0, kubernetes_namespace="ml", kubernetes_pod_name="s-1"),
        series(4.0, namespace="ml"),
        series(5.0, namespace="", pod="s-2"),
    ]
    ages = [series(1.0, namespace="ml", pod="s-0"), series(2.0, kubernetes_namespace="ml", kubernetes_pod_name="s-1")]
    found = answer(BY_POD, values, ages)
    assert found.pods == {"ml/s-0": Samples((1.0, 2.0), 1.0), "ml/s-1": Samples((3.0,), 2.0)}
    assert left_out(BY_POD, values, ages) == {"no labels name a pod": 2}


def test_all_series_belong_to_the_whole_pool_where_nothing_tells_them_apart() -> None:
    values, ages = [series(1.0, queue="a"), series(2.0, queue="b")], [series(4.0)]
    assert answer(WHOLE, values, ages).whole == Samples((1.0, 2.0), 4.0)
    assert left_out(WHOLE, values, ages) == {}
    assert answer(WHOLE, [], []).whole is None


def test_the_age_is_asked_for_by_the_labels_that_tell_series_apart() -> None:
    assert labels_of(BY_NODE) == ("node", "Hostname", "hostname")
    assert labels_of(BY_POD) == ("namespace", "pod", "kubernetes_namespace", "kubernetes_pod_name")
    assert labels_of(WHOLE) == ()
