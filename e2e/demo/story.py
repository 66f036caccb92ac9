"""Plays all steps of the demo, and writes the report and the timeline."""

from __future__ import annotations

from typing import Any

from e2e.demo.bursting import Bursting
from e2e.demo.failing import Failing
from e2e.demo.moving import Observations, signal_of
from e2e.demo.queueing import SIGNAL, Queueing
from e2e.demo.recorder import DemoRecorder
from e2e.demo.report import Burst, Moves, Queue, Report, burst_of, moves_of, queue_of, report_of
from e2e.demo.screen import Screen
from e2e.demo.stage import ACCELERATORS, PRIMARY, STANDBYS, TRAINING, Stage
from e2e.demo.telling import GROWING, Telling
from e2e.demo.timeline import Block, Timeline, timeline_of


class Story:
    """One telling."""

    def __init__(self, stage: Stage, screen: Screen, recorder: DemoRecorder) -> None:
        """The recorder watches already."""
        self._telling = Telling(stage, screen, recorder)
        self._bursting = Bursting(self._telling)
        self._failing = Failing(self._telling)
        self._queueing = Queueing(self._telling)
        self._burst: Burst | None = None
        self._moves: Moves | None = None

    def tell(self) -> None:
        """Play all steps. Raises E2EError where one does not come to its end in time."""
        self._bursting.play()
        # Pods come and go from here on: what the burst was has to be summed up now.
        self._burst = self._sum_up_burst()
        self._failing.play()
        self._moves = self._sum_up_moves()
        self._queueing.play()

    def forget_signals(self) -> None:
        """Take the signals off the pool: their source ends with this process, and the cluster stays."""
        self._queueing.forget()

    def report(self) -> Report:
        """Sum up what was seen so far, whether the story came to its end or not."""
        recorder, stage = self._telling.recorder, self._telling.stage
        return report_of(
            kubernetes=stage.cluster.version,
            seconds=self._telling.screen.seconds,
            burst=self._burst or self._sum_up_burst(),
            moves=self._moves or self._sum_up_moves(),
            queue=self._sum_up_queue(),
            pods=recorder.lives(),
            events=list(recorder.events),
        )

    def timeline(self) -> Timeline:
        """Return the course of it, to be drawn."""
        recorder = self._telling.recorder
        return timeline_of(
            providers={name: ACCELERATORS[name] for name in (PRIMARY, *STANDBYS)},
            observed=self._observations(app=None),
            taken=self._taken(),
            steps=self._telling.steps,
            acts=self._telling.acts,
            events=list(recorder.events),
            log_lines=self._log_lines(),
            wall_offset=recorder.wall_offset,
            end=self._telling.now(),
            thresholds=self._thresholds(),
        )

    def _thresholds(self) -> dict[str, tuple[float, float]]:
        spec = (self._telling.recorder.pool or {}).get("spec", {})
        metrics = spec.get("saturation", {}).get("metrics", [])
        return {f"saturation/{each['name']}": (float(each["enter"]), float(each["exit"])) for each in metrics}

    def _taken(self) -> list[Block]:
        began = self._telling.steps[0].at if self._telling.steps else self._telling.now()
        return [Block(PRIMARY, TRAINING, began, self._failing.milestones.freed, "another team's training")]

    def _sum_up_burst(self) -> Burst:
        return burst_of(
            resident=self._bursting.resident,
            pods=self._telling.recorder.lives(),
            provider_of_node=self._telling.stage.provider_of_node,
            primary=PRIMARY,
            log_lines=self._log_lines(),
        )

    def _sum_up_moves(self) -> Moves:
        recorder, milestones = self._telling.recorder, self._failing.milestones
        signal = signal_of(self._log_lines(), milestones.provider, recorder.wall_offset)
        spec = (recorder.pool or {}).get("spec", {})
        return moves_of(self._observations(GROWING), milestones, signal, spec, recorder.lives())

    def _sum_up_queue(self) -> Queue | None:
        milestones = self._queueing.milestones
        return queue_of(self._observations(GROWING), milestones, SIGNAL) if milestones else None

    def _observations(self, app: str | None) -> Observations:
        recorder = self._telling.recorder
        return Observations(
            pods=recorder.lives(app),
            evictions=[eviction for eviction in recorder.evictions if app in (None, eviction.pod.app)],
            provider_of_node=self._telling.stage.provider_of_node,
            primary=PRIMARY,
            history=list(recorder.history),
            heartbeats=recorder.heartbeats,
        )

    def _log_lines(self) -> list[dict[str, Any]]:
        return self._telling.stage.leader.log_lines() + self._telling.stage.standby.log_lines()
