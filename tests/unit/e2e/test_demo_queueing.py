"""The demo's queue: the metrics of its servers are recorded text with another queue, and it needs a Prometheus."""

from __future__ import annotations

import io
from typing import Any, cast

import pytest
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from e2e.demo.queueing import Queueing
from e2e.demo.screen import Screen
from e2e.demo.source import RECORDED, with_queue
from e2e.demo.stage import Stage
from e2e.demo.telling import Telling

WAITING, BY_REASON = "vllm:num_requests_waiting", "vllm:num_requests_waiting_by_reason"


def _samples(text: str) -> dict[tuple[str, str], float]:
    return {
        (sample.name, str(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.mark.parametrize("length", [0, 7, 12])
def test_the_queue_has_the_length_asked_for_and_all_else_stays_as_recorded(length: int) -> None:
    recorded = RECORDED.read_text(encoding="utf-8")
    before, after = _samples(recorded), _samples(with_queue(recorded, length))
    assert after.keys() == before.keys()
    for name, kind in ((WAITING, ""), (BY_REASON, "'capacity'")):
        assert sum(value for (own, labels), value in after.items() if own == name and kind in labels) == length
    assert sum(value for (own, labels), value in after.items() if own == BY_REASON and "'deferred'" in labels) == 0
    unlike = {own for (own, labels), value in after.items() if before[own, labels] != value}
    assert unlike <= {WAITING, BY_REASON}


def test_without_a_prometheus_the_queue_is_left_out_and_the_next_step_is_named() -> None:
    shown = io.StringIO()
    nothing = cast("Any", None)
    stage = Stage(cluster=nothing, leader=nothing, standby=nothing, provider_of_node={}, source=None)
    telling = Telling(stage, Screen(Console(file=shown, width=120), 0.0), nothing)
    queueing = Queueing(telling)
    queueing.play()
    queueing.forget()
    assert "only where a Prometheus is found" in shown.getvalue()
    assert "`make control-plane` downloads or builds it" in shown.getvalue()
    assert (telling.steps, queueing.milestones) == ([], None)
