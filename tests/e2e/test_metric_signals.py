"""Signals from a real Prometheus: a queue that grows opens admission before a pod waits; data that is missing, stale or
wrong is Unknown and moves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from e2e import objects, pools
from e2e.admission import wait_admits
from e2e.command import explained
from e2e.metrics_source import MetricsSource
from e2e.prometheus import Target
from e2e.site import Site
from tests.fakes.prometheus import answering, vector

Json = dict[str, Any]

SERVERS = ("s-0", "s-1", "s-2")
LONG, SHORT = 9, 0
QUEUE: Mapping[str, Any] = {
    "name": "queue",
    "preset": "vllm",
    "podSelector": {"matchLabels": {"app": "server"}},
    "enter": "5",
    "exit": "1",
    "sustainSeconds": 0,
    "clearSeconds": 0,
    "maxAgeSeconds": 5,
}
SLOW_BUT_FOR_SIGNALS: Mapping[str, Any] = {"pendingSeconds": 3600, "sustainSeconds": 3600, "clearSeconds": 0}


@dataclass
class Stage:
    """Three inference servers on the primary, which the Prometheus scrapes."""

    site: Site
    source: MetricsSource

    @property
    def targets(self) -> list[Target]:
        """The servers, as a PodMonitor finds them."""
        return [Target(name, {"namespace": self.site.namespace, "pod": name}) for name in SERVERS]

    def queue(self, length: int, at: int | None = None) -> None:
        """Let the servers have so many waiting requests each; `at`: the time of the samples in milliseconds."""
        for server in SERVERS:
            self.source.exporter.serve(server, waiting(length, at))

    def wait_signal(
        self, pool: str, verdict: str, reason: str | None = None, *, on: bool | None = None, value: str | None = None
    ) -> Json:
        """Wait until the pool's status has this verdict on the queue; return the signal's entry."""
        return self.source.wait_verdict(self.site, pool, "saturation/queue", verdict, reason, on=on, value=value)

    def now(self) -> int:
        """The time of the latest sample of the first server, in milliseconds."""
        series = f'vllm:kv_cache_usage_perc{{namespace="{self.site.namespace}",pod="{SERVERS[0]}"}}'
        (found,) = self.source.prometheus.wait_for(f"timestamp({series})", 1)
        return int(float(found["value"][1]) * 1000)


def waiting(length: int, at: int | None = None) -> str:
    """What a vLLM of today says of its queue, and of much else that has a similar name."""
    labels = 'model_name="llama",engine="0"'
    when = "" if at is None else f" {at}"
    return (
        f"vllm:num_requests_waiting{{{labels}}} {length + 100}{when}\n"
        f'vllm:num_requests_waiting_by_reason{{{labels},reason="capacity"}} {length}{when}\n'
        f'vllm:num_requests_waiting_by_reason{{{labels},reason="deferred"}} 100{when}\n'
        f"vllm:kv_cache_usage_perc{{{labels}}} 0.5\n"
    )


@pytest.fixture
def stage(metrics: MetricsSource, site: Site) -> Iterator[Stage]:
    site.add_nodes("aws", gpus=8)
    site.add_nodes("nebius", gpus=8, taint=True)
    site.create(*(objects.gpu_pod(name, labels={"app": "server"}) for name in SERVERS))
    site.wait_bound(len(SERVERS))
    own = Stage(site, metrics)
    metrics.revive()
    own.queue(SHORT)
    metrics.watch(own.targets)
    metrics.prometheus.wait_for(f'vllm:kv_cache_usage_perc{{namespace="{site.namespace}"}}', len(SERVERS))
    yield own
    metrics.revive()


@contextmanager
def _pool(stage: Stage, *metrics: Mapping[str, Any], **spec: Any) -> Iterator[str]:
    saturation = {**SLOW_BUT_FOR_SIGNALS, "metrics": list(metrics or (QUEUE,))}
    how = {"admission": {"mode": "WhenSaturated"}, **spec}
    with pools.pool(stage.site, ("aws", "nebius"), saturation=saturation, **how) as made:
        yield made["metadata"]["name"]


def test_admission_opens_while_the_queue_is_long_and_closes_when_it_is_short(stage: Stage) -> None:
    with _pool(stage) as pool:
        stage.wait_signal(pool, "Off")
        pools.wait_condition(stage.site, pool, "SignalsKnown", "True")
        pools.wait_admission(stage.site, pool, is_open=False)
        stage.queue(LONG)
        # The servers are scraped one after the other, so the signal may turn on before all queues are long.
        signal = stage.wait_signal(pool, "On", value=f"{LONG} requests")
        assert (signal["key"], signal["coveragePercent"]) == ("saturation/queue", 100)
        pools.wait_condition(
            stage.site, pool, "Saturated", "True", "MetricPressure", says="Signals that are on: queue."
        )
        admission = pools.wait_admission(stage.site, pool, is_open=True)
        assert [one["value"] for one in admission["tolerations"]] == ["nebius"]
        wait_admits(stage.site, "nebius")
        # More than the primary has left: the rest runs on the standby, and nobody waits.
        stage.site.create(*objects.gpu_pods("new", 7, labels={"app": "new"}))
        new = stage.site.wait_bound(7, labels="app=new")
        assert stage.site.providers_of(new) == {"aws": 5, "nebius": 2}
        assert {pod["metadata"]["annotations"][pools.SIGNALS] for pod in new} == {"queue"}
        # Those that the primary could not take may have made it saturated too.
        stage.site.api.delete_all("pods", stage.site.namespace, labels="app=new")
        stage.queue(SHORT)
        stage.wait_signal(pool, "Off")
        pools.wait_admission(stage.site, pool, is_open=False)
        pools.wait_condition(stage.site, pool, "Saturated", "False")


def test_a_pod_that_a_signal_sent_says_which(stage: Stage) -> None:
    with _pool(stage, admission={"mode": "Off"}) as pool:
        stage.queue(LONG)
        stage.wait_signal(pool, "On")
        # The first takes what the primary has left. The second is sent at once, long before pendingSeconds.
        stage.site.create(objects.gpu_pod("first", gpus=5, labels={"app": "new"}))
        stage.site.wait_bound(1, labels="app=new")
        stage.site.create(objects.gpu_pod("second", labels={"app": "second"}))
        (second,) = stage.site.wait_bound(1, labels="app=second")
        assert stage.site.providers_of([second]) == {"nebius": 1}
        assert second["metadata"]["annotations"][pools.SIGNALS] == "queue"
        assert "It was sent to nebius while these signals were on: queue." in explained(stage.site, "second")


# -- what may become of the data


@contextmanager
def _stopped(stage: Stage) -> Iterator[None]:
    stage.source.prometheus.terminate()
    yield


@contextmanager
def _paused(stage: Stage) -> Iterator[None]:
    stage.source.prometheus.pause()
    yield


@contextmanager
def _answers(stage: Stage, status: int, body: bytes) -> Iterator[None]:
    stage.source.prometheus.terminate()
    with answering(body, body, status, port=stage.source.prometheus.port):
        yield


def _server_error(stage: Stage) -> AbstractContextManager[None]:
    return _answers(stage, 500, b"boom")


def _garbage(stage: Stage) -> AbstractContextManager[None]:
    return _answers(stage, 200, b"<html>")


@contextmanager
def _half(stage: Stage) -> Iterator[None]:
    for server in SERVERS[1:]:
        stage.source.exporter.fail(server)
    yield


@contextmanager
def _another_schema(stage: Stage) -> Iterator[None]:
    for server in SERVERS:
        stage.source.exporter.serve(server, "sglang:num_queue_reqs 0\n")
    yield


@contextmanager
def _not_a_number(stage: Stage) -> Iterator[None]:
    for server in SERVERS:
        stage.source.exporter.serve(server, 'vllm:num_requests_waiting_by_reason{reason="capacity"} NaN\n')
    yield


@contextmanager
def _frozen(stage: Stage) -> Iterator[None]:
    """Samples with times of their own are not stale for Prometheus for five minutes, however old they are."""
    stage.queue(LONG, at=stage.now())
    yield


@contextmanager
def _of_the_future(stage: Stage) -> Iterator[None]:
    stage.queue(SHORT, at=stage.now() + 20_000)
    yield


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_stopped, "NoAnswer"),
        (_paused, "NoAnswer"),
        (_server_error, "NoAnswer"),
        (_garbage, "NoAnswer"),
        (_half, "TooFewSeries"),
        (_another_schema, "NoSeries"),
        (_not_a_number, "NoSeries"),
        (_frozen, "NoSeries"),
        (_of_the_future, "NoSeries"),
    ],
    ids=lambda one: one.__name__.strip("_") if callable(one) else one,
)
def test_what_is_missing_stale_or_wrong_holds_admission_as_it_is(
    stage: Stage, spoil: Callable[[Stage], AbstractContextManager[None]], reason: str
) -> None:
    with _pool(stage) as pool:
        stage.queue(LONG)
        stage.wait_signal(pool, "On")
        pools.wait_admission(stage.site, pool, is_open=True)
        with spoil(stage):
            stage.wait_signal(pool, "Unknown", reason, on=True)
            pools.wait_condition(stage.site, pool, "SignalsKnown", "False", reason)
            pools.wait_condition(stage.site, pool, "Saturated", "True", "MetricUnknown")
            pools.wait_admission(stage.site, pool, is_open=True)
        # It recovers without a hand.
        stage.queue(SHORT)
        stage.source.revive()
        stage.source.prometheus.watch(stage.targets)
        stage.wait_signal(pool, "Off")
        pools.wait_admission(stage.site, pool, is_open=False)


def test_an_empty_answer_is_not_zero(stage: Stage) -> None:
    low = {**QUEUE, "enter": "1", "exit": "5"}
    with _answers(stage, 200, vector()), _pool(stage, low) as pool:
        signal = stage.wait_signal(pool, "Unknown", "NoSeries", on=False)
        assert signal["message"].startswith("0 of 3 pods have a current sample.")
        pools.wait_condition(stage.site, pool, "Saturated", "False", "PrimaryHasRoom")
