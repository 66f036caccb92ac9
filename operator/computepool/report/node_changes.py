"""Nodes that become unhealthy, healthy or gone: many of them are announced in one sentence."""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from computepool.model.reasons import Reason
from computepool.report.formatting import counted, listed
from computepool.report.pass_report import PassReport
from computepool.report.problems import NAMED_NODES, describe_fault, unhealthy_nodes

GATHER_SECONDS: Final = 5.0
"""After an announcement, further changes wait for so long and are announced together. Nodes that fail at the same time
are found one after another, each when its heartbeat was due."""


class NodeChange(msgspec.Struct, frozen=True):
    """The same change of some nodes of one provider."""

    provider: str
    reason: Reason
    names: tuple[str, ...]
    note: str
    unhealthy: bool


class NodeChanges:
    """Remembers which nodes were announced as unhealthy, and when."""

    def __init__(self) -> None:
        """Nothing was announced yet: a new leader announces all unhealthy nodes."""
        self._announced: dict[str, dict[str, str]] = {}
        """By pool and node: the provider."""
        self._last: dict[str, float] = {}

    def announce(self, report: PassReport, now: float) -> tuple[list[NodeChange], float | None]:
        """Return the changes to announce now, and when to look for more (None: at the next change).

        `now`: seconds since the epoch.
        """
        if report.snapshot.stale or report.assessment.all_silent:
            return [], None
        pool = report.snapshot.pool.name
        announced = self._announced.get(pool, {})
        unhealthy = {name: provider for provider, nodes in unhealthy_nodes(report).items() for name in nodes}
        if unhealthy == announced:
            return [], None
        due = self._last.get(pool, float("-inf")) + GATHER_SECONDS
        # A clock that was set back must not hold anything up.
        if now < due <= now + GATHER_SECONDS:
            return [], due
        self._announced[pool], self._last[pool] = unhealthy, now
        return [*_became_unhealthy(report, announced), *_ended(report, unhealthy, announced)], None

    def forget(self, pool: str) -> None:
        """Drop a pool that is gone."""
        self._announced.pop(pool, None)
        self._last.pop(pool, None)


def _became_unhealthy(report: PassReport, announced: Mapping[str, str]) -> Iterable[NodeChange]:
    for provider, nodes in unhealthy_nodes(report).items():
        faults = {name: fault for name, fault in sorted(nodes.items()) if name not in announced}
        if faults:
            reasons = {fault.reason for fault in faults.values()}
            reason = reasons.pop() if len(reasons) == 1 else Reason.NODES_UNHEALTHY
            texts = [describe_fault(name, fault) for name, fault in faults.items()]
            note = f"{counted(len(faults), 'node')} of {provider} became unhealthy: {listed(texts, NAMED_NODES)}."
            yield NodeChange(provider, reason, tuple(faults), note, unhealthy=True)


def _ended(report: PassReport, unhealthy: Mapping[str, str], announced: Mapping[str, str]) -> Iterable[NodeChange]:
    present = {info.node.name for supply in report.assessment.supplies for info in supply.nodes}
    for provider in sorted(set(announced.values())):
        ended = sorted(name for name in announced if announced[name] == provider and name not in unhealthy)
        for state, names in (
            ("healthy again", tuple(name for name in ended if name in present)),
            ("gone", tuple(name for name in ended if name not in present)),
        ):
            if names:
                verb = "is" if len(names) == 1 else "are"
                note = f"{counted(len(names), 'node')} of {provider} {verb} {state}: {listed(names, NAMED_NODES)}."
                yield NodeChange(provider, Reason.NODES_WELL, names, note, unhealthy=False)
