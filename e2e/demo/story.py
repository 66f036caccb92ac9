"""The whole story, and what is left of it: the report and the timeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from e2e.demo.bursting import Bursting
from e2e.demo.failing import Failing
from e2e.demo.moving import Sight, failback_of, failover_of, signal_of
from e2e.demo.report import Burst, Moves, Report, beyond_budgets, burst_of, by_provider, report_of
from e2e.demo.screen import Screen
from e2e.demo.stage import ACCELERATORS, PRIMARY, STANDBYS, TRAINING, Stage
from e2e.demo.telling import GROWING, Telling
from e2e.demo.timeline import Block, Timeline, timeline_of
from e2e.demo.witness import Witness


class Story:
    """One telling."""

    def __init__(self, stage: Stage, screen: Screen, witness: Witness) -> None:
        """The witness watches already."""
        self._telling = Telling(stage, screen, witness)
        self._bursting = Bursting(self._telling)
        self._failing = Failing(self._telling)
        self._burst: Burst | None = None

    def tell(self) -> None:
        """Play all steps. Raises E2EError where one does not come to its end in time."""
        self._bursting.play()
        # Pods come and go from here on: what the burst was has to be summed up now.
        self._burst = self._sum_up_burst()
        self._failing.play()

    def report(self) -> Report:
        """Sum up what was seen so far, whether the story came to its end or not."""
        witness, stage = self._telling.witness, self._telling.stage
        return report_of(
            kubernetes=stage.cluster.version,
            seconds=self._telling.screen.seconds,
            burst=self._burst or self._sum_up_burst(),
            moves=self._sum_up_moves(),
            pods=list(witness.pods.values()),
            events=list(witness.events),
        )

    def timeline(self) -> Timeline:
        """Return the course of it, to be drawn."""
        witness = self._telling.witness
        return timeline_of(
            providers={name: ACCELERATORS[name] for name in (PRIMARY, *STANDBYS)},
            sight=self._sight(app=None),
            taken=self._taken(),
            steps=self._telling.steps,
            acts=self._telling.acts,
            events=list(witness.events),
            log_lines=self._log_lines(),
            wall_offset=witness.wall_offset,
            end=self._telling.now(),
        )

    def _taken(self) -> list[Block]:
        began = self._telling.steps[0].at if self._telling.steps else self._telling.now()
        return [Block(PRIMARY, TRAINING, began, self._failing.turns.freed, "another team's training")]

    def _sum_up_burst(self) -> Burst:
        return burst_of(
            resident=self._bursting.resident,
            pods=list(self._telling.witness.pods.values()),
            provider_of_node=self._telling.stage.provider_of_node,
            primary=PRIMARY,
            log_lines=self._log_lines(),
        )

    def _sum_up_moves(self) -> Moves:
        witness, turns, sight = self._telling.witness, self._failing.turns, self._sight(GROWING)
        signal = signal_of(self._log_lines(), turns.provider, witness.wall_offset)
        failover, failover_ms, silence_ms = failover_of(sight, turns, signal, self._limits("failover"))
        failback = failback_of(sight, turns, self._limits("failback"))
        return Moves(
            failover=failover,
            failover_ms=failover_ms,
            silence_ms=silence_ms,
            moves=failover.moves + failback.moves,
            pdb_violations=beyond_budgets(sight.evictions),
            failback=failback,
            pods_at_end=by_provider(list(witness.pods.values()), self._telling.stage.provider_of_node),
        )

    def _sight(self, app: str | None) -> Sight:
        witness = self._telling.witness
        return Sight(
            pods=[pod for pod in list(witness.pods.values()) if app in (None, pod.app)],
            evictions=[one for one in witness.evictions if app in (None, one.pod.app)],
            provider_of_node=self._telling.stage.provider_of_node,
            primary=PRIMARY,
            history=list(witness.history),
            heartbeats=witness.heartbeats,
        )

    def _log_lines(self) -> list[dict[str, Any]]:
        return self._telling.stage.leader.log_lines() + self._telling.stage.standby.log_lines()

    def _limits(self, what: str) -> Mapping[str, Any]:
        spec: Mapping[str, Any] = (self._telling.witness.pool or {}).get("spec", {})
        found: Mapping[str, Any] = spec.get(what, {})
        return found
