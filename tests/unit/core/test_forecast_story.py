"""A simulated cluster whose demand grows: with a forecast new pods burst without a wait, and nobody else is moved."""

from __future__ import annotations

from typing import Any

from computepool.simulate.owners import PodTemplate
from computepool.simulate.simulation import Simulation
from tests.builders import NOW, node, pool, provider, shape

MINUTE = 60.0
ACT = {"mode": "Act", "windowMinutes": 10, "horizonSeconds": 300}


def grown(forecast: dict[str, Any]) -> tuple[Simulation, float | None, float]:
    """Let the demand grow by two pods a minute beyond 32 accelerators. Return the simulation, when admission opened
    (seconds after the begin), and how long pods waited together.
    """
    of = pool(provider("aws"), provider("nebius"), pending=60, sustain=3600, enter=100, forecast=forecast)
    simulation = Simulation(of, [node("a1", 32), node("n1", 32)], NOW)
    opened, waited = None, 0.0
    for _ in range(20):
        made = simulation.owners.create(PodTemplate(shape(1)), 2)
        simulation.settle()
        begun = simulation.clock.now
        if opened is None and simulation.cluster.admission.provider:
            opened = begun - NOW
        waiting = [one for one in made if not simulation.cluster.pods[one.uid].node]
        simulation.run(MINUTE)
        waited += sum(MINUTE for _ in waiting)
    return simulation, opened, waited


def test_admission_opens_before_the_first_pod_waits() -> None:
    ahead, opened, waited = grown(ACT)
    behind, opened_late, waited_late = grown({"mode": "Off"})
    assert opened is not None
    assert opened_late is not None
    assert opened < opened_late
    assert (waited, waited_late > 0) == (0.0, True)
    assert not ahead.operator.moved
    assert not behind.operator.moved
    # The primary is filled first all the same.
    assert len(ahead.cluster.pods_on("aws")) == 32


def test_a_restart_while_admission_is_open_by_a_forecast_moves_nobody() -> None:
    simulation, _, _ = grown(ACT)
    moved = len(simulation.operator.moved)
    simulation.operator.restart()
    simulation.settle()
    assert len(simulation.operator.moved) == moved
