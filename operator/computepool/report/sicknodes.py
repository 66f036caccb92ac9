"""What is told of sick nodes: which they are and what is wrong with them, many of them in one sentence."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from computepool.model.reasons import Reason
from computepool.model.state import NodeFault
from computepool.report.pass_report import PassReport
from computepool.report.trouble import Trouble

NAMED: Final = 5
"""So many nodes are named at once; `computepool cleanup --dry-run` lists all that are in quarantine."""
GATHER_SECONDS: Final = 5.0
"""What comes so soon after something was told waits, and is told together: nodes that fail together are found so one
after another, each as its heartbeat was due."""


class News(NamedTuple):
    """One thing to tell about nodes of one provider."""

    provider: str
    reason: Reason
    note: str
    nodes: int
    names: str
    unhealthy: bool


class NodeNews:
    """Remembers which nodes were told to be sick, and when anything was told."""

    def __init__(self) -> None:
        """Nothing was told yet: a new leader tells of all that are sick."""
        self._told: dict[str, dict[str, str]] = {}
        self._last: dict[str, float] = {}

    def look(self, outcome: PassReport, now: float, tell: Callable[[News], None]) -> float | None:
        """Tell of nodes that have become sick, are well again, or are gone; return when to look for more, if so.

        `now`: seconds since the epoch.
        """
        if outcome.snapshot.stale or outcome.assessment.all_silent:
            return None
        pool = outcome.snapshot.pool.name
        told = self._told.setdefault(pool, {})
        unhealthy = _sick_of(outcome)
        now_sick = {node: provider for provider, nodes in unhealthy.items() for node in nodes}
        if now_sick == told:
            return None
        due = self._last.get(pool, float("-inf")) + GATHER_SECONDS
        # A clock that was set back must not hold anything up.
        if now < due <= now + GATHER_SECONDS:
            return due
        for news in (*_fallen(unhealthy, told), *_risen(outcome, now_sick, told)):
            tell(news)
        self._told[pool] = now_sick
        self._last[pool] = now
        return None

    def forget(self, pool: str) -> None:
        """Drop a pool that is gone."""
        self._told.pop(pool, None)
        self._last.pop(pool, None)


def sick_nodes(outcome: PassReport) -> Trouble | None:
    """Name the sick nodes of providers that are in use; None where there are none."""
    used = {supply.provider.name for supply in outcome.assessment.supplies if supply.breaker.closed}
    unhealthy = {provider: nodes for provider, nodes in _sick_of(outcome).items() if provider in used and nodes}
    count = sum(len(nodes) for nodes in unhealthy.values())
    if not count:
        return None
    found = [
        (f"{name} of {provider}", one) for provider, nodes in unhealthy.items() for name, one in sorted(nodes.items())
    ]
    what, get = ("1 node is sick", "gets") if count == 1 else (f"{count} nodes are sick", "get")
    listed = _listed(found)
    return Trouble(Reason.NODES_UNHEALTHY, f"{what} and {get} no new pods: {listed}.", f"{what}: {listed}")


def _sick_of(outcome: PassReport) -> Mapping[str, Mapping[str, NodeFault]]:
    return {name: health.unhealthy for name, health in outcome.assessment.health.providers.items()}


def _fallen(unhealthy: Mapping[str, Mapping[str, NodeFault]], told: Mapping[str, str]) -> Iterable[News]:
    for provider, nodes in unhealthy.items():
        fresh = [(name, one) for name, one in sorted(nodes.items()) if name not in told]
        if fresh:
            reasons = {one.reason for _, one in fresh}
            reason = reasons.pop() if len(reasons) == 1 else Reason.NODES_UNHEALTHY
            note = f"{_counted(len(fresh))} of {provider} became sick: {_listed(fresh)}."
            yield News(provider, reason, note, len(fresh), _names(name for name, _ in fresh), unhealthy=True)


def _risen(outcome: PassReport, unhealthy: Mapping[str, str], told: Mapping[str, str]) -> Iterable[News]:
    there = {info.node.name for supply in outcome.assessment.supplies for info in supply.nodes}
    for provider in sorted(set(told.values())):
        over = sorted(name for name, of in told.items() if of == provider and name not in unhealthy)
        for names, what in (
            ([name for name in over if name in there], "well again"),
            ([name for name in over if name not in there], "gone"),
        ):
            if names:
                be = "is" if len(names) == 1 else "are"
                note = f"{_counted(len(names))} of {provider} {be} {what}: {_names(names)}."
                yield News(provider, Reason.NODES_WELL, note, len(names), _names(names), unhealthy=False)


def _listed(found: list[tuple[str, NodeFault]]) -> str:
    shown = [f"{name} ({_what(one)})" for name, one in found[:NAMED]]
    return ", ".join(shown) + _more(len(found))


def _what(one: NodeFault) -> str:
    return f"{one.reason}: {one.detail}" if one.detail else str(one.reason)


def _names(names: Iterable[str]) -> str:
    all_of = list(names)
    return ", ".join(all_of[:NAMED]) + _more(len(all_of))


def _more(count: int) -> str:
    return f" and {count - NAMED} more" if count > NAMED else ""


def _counted(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"
