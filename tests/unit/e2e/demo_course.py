"""A course of the demo as its recorder would have seen it, shortened and quicker than any machine; and builders."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from e2e.demo import report as reporting
from e2e.demo.moving import Milestones, Observations
from e2e.demo.report import Moves, Report, burst_of, report_of
from e2e.demo.seen import Act, BreakerSeen, EventSeen, Eviction, PoolSeen, SignalSeen, Step
from e2e.demo.timeline import Block, Timeline, timeline_of
from e2e.recorder import Life

NODES = {"a-0": "aws", "n-0": "nebius", "c-0": "crusoe"}
ACCELERATORS = {"aws": 12, "nebius": 4, "crusoe": 8}
BEGAN, WALL = 1000.0, 1_795_000_000.0
SIGNAL = 25.5
QUEUE = "saturation/queue"
LIMITS = {"failover": {"maxConcurrentMoves": 2}, "failback": {"maxConcurrentMoves": 2, "perMinute": 30}}


def pod(
    name: str,
    node: str = "",
    *,
    created: float = 0.0,
    bound: float | None = None,
    born: str = "",
    stays: bool = False,
    app: str = "chat",
) -> Life:
    """A pod; bound 10 ms after it was created where a node is given."""
    if bound is None and node:
        bound = created + 0.01
    return Life(name, name, app, created, frozenset({born} - {""}), not stays, node=node, bound=bound)


class Course:
    """What has been seen so far; times are seconds since the first step."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.pods: list[Life] = []
        self.evictions: list[Eviction] = []
        self.history: list[PoolSeen] = []
        self.events: list[EventSeen] = []
        self.log_lines: list[dict[str, Any]] = [{"message": "leading"}]
        self.milestones = Milestones("nebius")

    def make(self, names: str, node: str, at: float, born: str = "") -> list[Life]:
        """Pods of one letter each, bound at once."""
        made = [pod(f"chat-{name}", node, created=BEGAN + at, born=born) for name in names]
        self.pods += made
        return made

    def evict(self, one: Life, at: float, *, gone_after: float = 0.02, serving: int = 9, wanted: int = 8) -> None:
        """One pod goes by the Eviction API."""
        one.deleting, one.gone = BEGAN + at, BEGAN + at + gone_after
        self.evictions.append(Eviction(one, one.deleting, by_api=True, serving=serving, wanted=wanted))

    def queue(self, at: float, value: float | None, verdict: str, admits: str = "") -> None:
        """The status from then on: that of before, with a signal from metrics."""
        signals = {QUEUE: SignalSeen(verdict, value, "requests")}
        self.history.append(replace(self.history[-1], at=BEGAN + at, admits=admits, signals=signals))

    def status(self, at: float, saturated: str = "True", nebius: str = "Closed", reason: str = "") -> None:
        """The pool's status from then on."""
        breakers = {
            "aws": BreakerSeen("Closed"),
            "nebius": BreakerSeen(nebius, reason),
            "crusoe": BreakerSeen("Closed"),
        }
        self.history.append(PoolSeen(BEGAN + at, saturated, "PodsOverflow", breakers, ACCELERATORS, "1.00"))

    def tell(self, at: float, reason: str, message: str, action: str = "Burst") -> None:
        """An event on the pool."""
        self.events.append(EventSeen(_time(at), "ComputePool", "inference", reason, message, action))

    def log_sent(self, at: float, provider: str, reason: str, pods: int, **fields: str) -> None:
        """A line of the operator's log about pods that were sent to a standby or moved."""
        self.log_lines.append({"time": _time(at), "provider": provider, "reason": reason, "pods": pods, **fields})

    def log_move(self, at: float, source: str, provider: str, reason: str, pods: int) -> None:
        """The line about moved ones."""
        line = {"message": "running pods evicted", "source": source, "target": provider, "reason": reason}
        self.log_lines.append({"time": _time(at), "pods": pods, **line})

    def observed(self) -> Observations:
        """All of it."""
        beats = {node: [BEGAN + n for n in range(61) if node != "n-0" or not 20 < n < 35] for node in NODES}
        return Observations(self.pods, self.evictions, NODES, "aws", self.history, beats)


def _time(at: float) -> str:
    return datetime.fromtimestamp(WALL + at, UTC).isoformat().replace("+00:00", "Z")


def course() -> Course:
    """Four pods at home, four on nebius and two on crusoe; nebius fails and comes back, and all come home."""
    seen = Course()
    seen.make("abcd", "a-0", 0.5)
    seen.status(0.6, "False")
    seen.make("ef", "n-0", 5.0)
    for one in seen.pods[4:6]:
        one.sent_on["nebius"] = one.created + 0.004
    seen.status(5.1)
    seen.tell(5.1, "PodsOverflow", "New pods may use nebius from their creation on.", "Admission")
    seen.tell(5.1, "PrimarySaturated", "2 pod(s) sent to standbys: 2 to nebius.")
    seen.log_sent(5.1, "nebius", "PrimarySaturated", 2, message="burst")
    seen.make("gh", "n-0", 8.0, born="nebius")
    seen.make("ij", "c-0", 9.0, born="crusoe")
    seen.status(SIGNAL, nebius="Open", reason="ProviderSilent")
    seen.tell(SIGNAL, "ProviderSilent", "Breaker of nebius is Open.", "Breaker")
    for index, (old, name) in enumerate(zip(seen.pods[4:8], "klmn", strict=True)):
        at = SIGNAL + 0.1 + index * 0.1
        seen.evict(old, at, gone_after=35.5 - at)
        seen.make(name, "c-0", at + 0.05, born="crusoe")
    seen.tell(SIGNAL + 0.2, "LeavesProvider", "2 running pod(s) evicted: 2 from nebius (meant for crusoe).", "Failover")
    seen.log_move(SIGNAL + 0.2, "nebius", "crusoe", "LeavesProvider", 2)
    seen.log_move(SIGNAL + 0.6, "nebius", "crusoe", "LeavesProvider", 2)
    seen.status(40.0, nebius="HalfOpen", reason="CanaryUnderWay")
    seen.make("o", "n-0", 40.5, born="nebius")
    seen.status(43.0)
    seen.status(48.0, "False")
    for index, (old, name) in enumerate(zip([*seen.pods[8:14], seen.pods[14]], "pqrstuv", strict=True)):
        at = 50.0 + index * 0.3
        seen.evict(old, at)
        seen.make(name, "a-0", at + 0.1)
        seen.log_move(at, "crusoe", "aws", "ComesHome", 1)
    seen.milestones = Milestones("nebius", BEGAN + 20, BEGAN + 26, BEGAN + 40, BEGAN + 45, BEGAN + 53)
    return seen


def queued() -> Course:
    """The course, and a queue after it: it grows, two pods come while it is long, and it falls."""
    seen = course()
    for at, value, verdict, admits in (
        (54.0, None, "Unknown", ""),
        (55.0, 0.0, "Off", ""),
        (56.0, 6.0, "On", "nebius"),
        (57.0, None, "Unknown", "nebius"),
        (58.0, 8.0, "On", "nebius"),
        (59.0, 0.0, "Off", ""),
    ):
        seen.queue(at, value, verdict, admits)
    seen.make("w", "a-0", 58.2, born="nebius")
    seen.make("x", "n-0", 58.2, born="nebius")
    return seen


def moves_of(seen: Course) -> Moves:
    """What the report says of it."""
    return reporting.moves_of(seen.observed(), seen.milestones, BEGAN + SIGNAL, LIMITS, seen.pods)


def report(seen: Course, log_lines: list[dict[str, Any]] | None = None) -> Report:
    """The report, the burst summed up as it was before anything failed."""
    before = Course()
    before.make("abcd", "a-0", 0.5)
    resident = list(before.pods)
    before.make("ef", "n-0", 5.0)
    before.make("gh", "n-0", 8.0, born="nebius")
    before.make("ij", "c-0", 9.0, born="crusoe")
    burst = burst_of(
        resident=resident, pods=before.pods, provider_of_node=NODES, primary="aws", log_lines=log_lines or []
    )
    return report_of(
        kubernetes="1.37.2",
        seconds=61.2,
        burst=burst,
        moves=moves_of(seen),
        queue=None,
        pods=seen.pods,
        events=seen.events,
    )


def timeline(seen: Course) -> Timeline:
    """The course as it is drawn."""
    titles = ("It fills", "It bursts", "nebius fails", "nebius recovers", "All come home")
    return timeline_of(
        providers=ACCELERATORS,
        observed=seen.observed(),
        taken=[Block("aws", 8, BEGAN, BEGAN + 45, "another team's training")],
        steps=[Step(BEGAN + at, n, t) for n, (at, t) in enumerate(zip((0, 5, 20, 35, 45), titles, strict=True), 1)],
        acts=[Act(BEGAN + 20, "The kubelets of nebius die."), Act(BEGAN + 45, "The training is over.")],
        events=seen.events,
        log_lines=seen.log_lines,
        wall_offset=WALL - BEGAN,
        end=BEGAN + 60,
        thresholds={QUEUE: (5.0, 1.0)},
    )
