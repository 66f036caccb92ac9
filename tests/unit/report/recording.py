"""A recorder of events whose events, log lines and counters a test reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from computepool.decide.plan import Burst, Move, Plan
from computepool.model.api import BreakerState, BreakerStatus, PoolStatus
from computepool.model.reasons import Reason
from computepool.report.event_recorder import EventRecorder
from computepool.report.events import Event
from computepool.report.metrics import Metrics
from computepool.report.pass_report import PassReport
from computepool.report.status import status_of
from tests.builders import pod, pool
from tests.unit.report.passes import AT

OBSERVED = pool(mode="Observe")
BURST_POOL = pool()
FAILED = BreakerStatus(state=BreakerState.OPEN, reason="ProviderSilent", failures=1)


class Recording:
    """A recorder and the events that it sends."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.metrics = Metrics()
        self.recorder = EventRecorder(self.metrics, self.events.append)

    def about(self, kind: str) -> list[Event]:
        return [event for event in self.events if event.subject["kind"] == kind]

    def observed(self, bursts: Sequence[Burst] = (), moves: Sequence[Move] = ()) -> bool:
        """Have decisions observed; say whether any of them was new."""
        announced = self.recorder.announced(OBSERVED.name, [*bursts, *moves])
        self.recorder.observe(OBSERVED, Plan(bursts=tuple(bursts), moves=tuple(moves)))
        return not announced

    def turned(self, of: PassReport, before: PoolStatus | None = None) -> PoolStatus:
        before = before or PoolStatus()
        after = status_of(of, before, AT)
        self.recorder.record_status(of.snapshot.pool, before, after)
        return after


def burst(name: str, to: str = "nebius", why: Reason = Reason.PRIMARY_SATURATED) -> Burst:
    return Burst(pod(name), to, why, (("aws", Reason.NO_ROOM),), ())


def held_back(of: PassReport) -> PassReport:
    plan = msgspec.structs.replace(of.plan, held_back="2 of 3 providers have failed at once")
    return msgspec.structs.replace(of, plan=plan)


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [{"message": one.getMessage(), **vars(one).get("fields", {})} for one in caplog.records]
