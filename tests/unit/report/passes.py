"""Reports on whole passes, for tests: a pool, nodes and pods go in, the core decides once, a report comes out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from computepool.decide.reconcile import reconcile
from computepool.model.api import ComputePool, Condition
from computepool.model.cluster import Node, Pod
from computepool.model.state import PoolState, recorded_in, restarted
from computepool.report.conditions import conditions_of
from computepool.report.pass_report import AdmissionGap, Gaps, PassReport
from tests.builders import NOW, node, pod, pool, snapshot

NO_POLICY = Gaps(admission=AdmissionGap.DEMANDED)
AT = datetime.fromtimestamp(NOW, UTC)

FULL = [node("a1", 2, of="aws"), node("n1", 4, of="nebius"), node("c1", 4, of="crusoe")]
"""One node each, the primary's of two accelerators."""
RESIDENTS = [pod("old-1", on="a1"), pod("old-2", on="a1")]
"""They fill the primary."""


def report_on(
    of: ComputePool | None = None,
    nodes: Sequence[Node] = FULL,
    pods: Sequence[Pod] = RESIDENTS,
    *,
    now: float = NOW,
    seen: dict[str, Any] | None = None,
    state: PoolState | None = None,
    **fields: Any,
) -> PassReport:
    """One pass, from `state` or what the pool's status has recorded. `seen`, `fields`: more of snapshot and report."""
    of = of or pool()
    view = snapshot(of, nodes, pods, **(seen or {}))
    done = reconcile(view, state or restarted(recorded_in(of)), now)
    return PassReport(view, done.assessment, done.plan, done.state, **fields)


def condition(of: PassReport, kind: str, before: tuple[Condition, ...] = (), now: datetime = AT) -> Condition:
    """One condition of the report."""
    (found,) = [one for one in conditions_of(of, before, now) if one.type == kind]
    return found


def said(of: PassReport, kind: str) -> tuple[str, str, str]:
    """A condition's status, reason and message."""
    found = condition(of, kind)
    return str(found.status), found.reason, found.message
