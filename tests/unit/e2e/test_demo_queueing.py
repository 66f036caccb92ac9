"""The metrics of the demo's servers: recorded text, with another queue."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from e2e.demo.source import RECORDED, with_queue

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
