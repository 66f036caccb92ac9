"""What a pod requests, as the scheduler counts it."""

from __future__ import annotations

from typing import Any

import msgspec

from computepool.kube.wire import PodSpec
from computepool.observe.effective_request import effective_request
from tests.builders import GPU


def asks(gpus: int | str = 0, cpu: str = "", *, sidecar: bool = False) -> dict[str, Any]:
    """A container."""
    requests = {name: str(amount) for name, amount in ((GPU, gpus), ("cpu", cpu)) if amount}
    return {"resources": {"requests": requests}, **({"restartPolicy": "Always"} if sidecar else {})}


def requested(*containers: dict[str, Any], init: list[dict[str, Any]] | None = None, **spec: Any) -> dict[str, int]:
    """What the pod requests, without itself as one of the node's pods."""
    pod = msgspec.convert({"containers": containers, "initContainers": init, **spec}, PodSpec)
    amounts = dict(effective_request(pod))
    assert amounts.pop("pods") == 1000
    return amounts


def test_containers_add_up() -> None:
    assert requested(asks(1, "500m"), asks(2, "1.5")) == {GPU: 3000, "cpu": 2000}


def test_a_pod_that_asks_for_nothing_is_still_one_of_the_nodes_pods() -> None:
    assert requested({}, {"resources": {}}, {"resources": {"requests": {"cpu": "0"}}}) == {}


def test_init_containers_count_one_at_a_time_and_only_where_they_ask_for_more() -> None:
    assert requested(asks(2, "1"), init=[asks(4), asks(1, "3")]) == {GPU: 4000, "cpu": 3000}
    assert requested(asks(2, "1"), init=[asks(1)]) == {GPU: 2000, "cpu": 1000}


def test_sidecars_add_to_the_containers() -> None:
    assert requested(asks(2, "1"), init=[asks(0, "500m", sidecar=True)]) == {GPU: 2000, "cpu": 1500}


def test_an_init_container_runs_beside_the_sidecars_started_before_it_and_not_those_after() -> None:
    before = [asks(0, "1", sidecar=True), asks(0, "3"), asks(0, "2", sidecar=True)]
    assert requested(asks(0, "500m"), init=before) == {"cpu": 4000}
    after = [asks(0, "4"), asks(0, "1", sidecar=True), asks(0, "2", sidecar=True)]
    assert requested(asks(0, "500m"), init=after) == {"cpu": 4000}
    assert requested(asks(0, "2"), init=after) == {"cpu": 5000}


def test_overhead_is_added_to_all_of_it() -> None:
    assert requested(asks(1, "1"), init=[asks(0, "3")], overhead={"cpu": "250m"}) == {GPU: 1000, "cpu": 3250}


def test_a_request_of_the_whole_pod_takes_the_place_of_its_containers() -> None:
    whole = {"requests": {"cpu": "8"}}
    assert requested(asks(2, "1"), asks(0, "9"), resources=whole, overhead={"cpu": "1"}) == {GPU: 2000, "cpu": 9000}


def test_amounts_are_read_in_every_notation_of_quantities() -> None:
    found = requested({"resources": {"requests": {"memory": "64Ki", "cpu": "1e1", GPU: "2"}}})
    assert found == {"memory": 65_536_000, "cpu": 10_000, GPU: 2000}
