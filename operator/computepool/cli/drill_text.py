"""What `computepool drill` prints: a verdict, the timeline, the pods that are stranded, and what to know about it."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.text import Text

from computepool.cli.console import make_table, print_table
from computepool.cli.drill_watch import End, Real
from computepool.model.api import ComputePool, Mode, RunningPods
from computepool.report.formatting import counted, span
from computepool.simulate.drill import Course, Fate, How

SHOWN: Final = 20
"""How many moves, and how many stranded pods, a table shows; JSON and the page have all."""


class Told(msgspec.Struct, frozen=True):
    """A drill that was played, with all that is said about it."""

    pool: ComputePool
    course: Course
    notes: tuple[str, ...]
    """What is not known or not played."""
    now: float
    """When the cluster was read, in seconds since the epoch."""

    @property
    def headline(self) -> str:
        """What was played."""
        what = "failed" if self.course.how is How.FAILS else "were drained"
        return f"If {self.course.provider} of pool {self.pool.name} {what} now"

    @property
    def verdict(self) -> str:
        """What becomes of the pods, in one or two sentences."""
        course = self.course
        if not course.fates:
            return f"No pod of the pool runs on {course.provider}, so no pod would have to leave."
        served, stranded = len(course.fates) - len(course.stranded), course.stranded
        said = f"{served} of {counted(len(course.fates), 'pod')} would be Ready elsewhere"
        if course.served_after is not None:
            said += f" after {took(course.served_after)}"
        if not stranded:
            return f"{said}."
        accelerators = counted(sum(fate.accelerators for fate in stranded), "accelerator")
        if course.unfinished:
            return f"{said}. {counted(len(stranded), 'pod')} with {accelerators} would still wait after an hour."
        return f"{said}. {counted(len(stranded), 'pod')} with {accelerators} would be stranded."


def as_json(told: Told, real: Sequence[Real] = (), end: End | None = None) -> dict[str, Any]:
    """Return the drill as programs read it: see docs/drill.md. `real`, `end`: the pods and the end of a live drill."""
    course = told.course
    really = {found.fate.pod.uid: found for found in real}
    return {
        "pool": told.pool.name,
        "provider": course.provider,
        "how": str(course.how),
        "verdict": told.verdict,
        "seconds": _round(course.seconds),
        "unfinished": course.unfinished,
        "halted": course.halted,
        "breakers": [
            {
                "at": _round(turn.at),
                "provider": turn.provider,
                "state": str(turn.state),
                "reason": str(turn.reason or ""),
            }
            for turn in course.turns
        ],
        "live": None if end is None else {"asPlanned": end.well, "endedBecause": end.why},
        "pods": [_fate_as_json(fate, really.get(fate.pod.uid)) for fate in course.fates],
        "stranded": len(course.stranded),
        "refusedEvictions": dict(sorted(course.refusals.items())),
        "costPerHour": {
            "before": None if course.cost_before is None else f"{course.cost_before:.2f}",
            "after": None if course.cost_after is None else f"{course.cost_after:.2f}",
        },
        "notes": notes(told),
    }


def _fate_as_json(fate: Fate, real: Real | None) -> dict[str, Any]:
    return {
        "namespace": fate.pod.namespace,
        "pod": fate.pod.name,
        "accelerators": fate.accelerators,
        "movedAt": _round(fate.moved_at),
        "target": fate.target,
        "reason": str(fate.why or ""),
        "boundAt": _round(fate.bound_at),
        "runsOn": fate.runs_on,
        "readyAt": _round(fate.ready_at),
        "stranded": fate.stranded,
        "staysBecause": str(fate.stays or ""),
        "providers": [{"name": name, "reason": str(reason)} for name, reason in fate.rejected],
        "reallyLeftAt": None if real is None else _round(real.left_at),
        "reallyReadyAt": None if real is None else _round(real.ready_at),
    }


def _round(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def print_drill(told: Told, console: Console) -> None:
    """Print a drill for people."""
    course = told.course
    console.print(Text(f"{told.headline}: a dry run, nothing is changed.", style="bold"))
    console.print(Text(told.verdict, style="red" if course.stranded else "green"))
    if course.halted:
        console.print(Text(f"The operator would move no running pod: {course.halted}.", style="red"))
    moved = [fate for fate in course.fates if fate.moved_at is not None]
    if course.turns or moved:
        console.print()
        _print_timeline(told, moved, console)
    if course.stranded:
        console.print()
        _print_stranded(course.stranded, console)
    console.print()
    for note in notes(told):
        console.print(note)


def _print_timeline(told: Told, moved: Sequence[Fate], console: Console) -> None:
    table = make_table("After", "Ready", "What happens")
    lines = [
        (turn.at, "", f"the breaker of {turn.provider} is {turn.state}{f' ({turn.reason})' if turn.reason else ''}")
        for turn in told.course.turns
    ]
    lines += [
        (
            fate.moved_at or 0.0,
            "-" if fate.ready_at is None else clock(fate.ready_at),
            f"{name_of(fate)} ({counted(fate.accelerators, 'accelerator')}) leaves for {fate.runs_on or fate.target}"
            f" ({fate.why})",
        )
        for fate in moved[:SHOWN]
    ]
    for at, ready, what in sorted(lines):
        table.add_row(clock(at), ready, what)
    print_table(table, console)
    if len(moved) > SHOWN:
        console.print(f" {counted(len(moved) - SHOWN, 'more move')}, until {clock(moved[-1].moved_at or 0.0)}.")


def _print_stranded(stranded: Sequence[Fate], console: Console) -> None:
    table = make_table("Stranded", "Accelerators", "Reason", "Meaning")
    for fate in stranded[:SHOWN]:
        table.add_row(name_of(fate), str(fate.accelerators), reason_of(fate), meaning_of(fate), style="red")
    print_table(table, console)
    if len(stranded) > SHOWN:
        console.print(f" and {counted(len(stranded) - SHOWN, 'more pod')}: see --output json or --report FILE.")


def name_of(fate: Fate) -> str:
    """Name the pod."""
    return f"{fate.pod.namespace}/{fate.pod.name}"


def reason_of(fate: Fate) -> str:
    """Return why the pod is stranded, as one word."""
    return str(fate.stays) if fate.stays is not None else "-"


def meaning_of(fate: Fate) -> str:
    """Return why the pod is stranded, as a sentence, with the verdict of each provider."""
    if fate.stays is None:
        return "The operator has no decision about it."
    rejected = "; ".join(f"{name}: {reason}" for name, reason in fate.rejected)
    return f"{fate.stays.help}{f' ({rejected})' if rejected else ''}"


def took(seconds: float) -> str:
    """Write how long something takes: `12 s`, `9:55 min`."""
    return f"{seconds:.0f} s" if seconds < 60 else f"{clock(seconds).removeprefix('+')} min"


def clock(seconds: float) -> str:
    """Write the time since the drill began: `+12.4 s`, `+3:05`."""
    if seconds < 60:
        return f"+{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"+{minutes}:{rest:02d}"


def notes(told: Told) -> list[str]:
    """Return what else there is to know, as sentences."""
    return [*_about_pods(told), *_about_limits(told), *told.notes]


def _about_pods(told: Told) -> list[str]:
    fates = told.course.fates
    said = []
    if gangs := sum(fate.pod.gang for fate in fates):
        said.append(f"{counted(gangs, 'pod')} of gangs: their members are moved one by one, not together.")
    batch = [fate.pod for fate in fates if fate.pod.to_completion]
    if batch:
        longest = max(told.now - (pod.started or pod.created) for pod in batch)
        said.append(
            f"{counted(len(batch), 'pod')} of work that runs to completion, for up to {span(longest)} now. No "
            "checkpoint is known, so a pod that leaves may lose all of its work."
        )
    if bare := sum(not fate.pod.owner for fate in fates):
        said.append(f"{counted(bare, 'pod')} without a controller: no other pod would be made in place of them.")
    kinds = Counter(kind for fate in fates for kind in fate.pod.shape.unmodelled)
    if kinds:
        said.append(f"Constraints of pods that this can't check: {', '.join(sorted(kinds))}.")
    return said


def _about_limits(told: Told) -> list[str]:
    course, spec = told.course, told.pool.spec
    said = []
    for budget, count in sorted(course.refusals.items()):
        said.append(f"The disruption budget {budget} would refuse {counted(count, 'eviction')}, which are tried again.")
    if course.exhausted:
        said.append("The pool's budget (spec.budget) would keep pods back.")
    if course.cost_before is not None and course.cost_after is not None:
        said.append(f"The pool costs {course.cost_before:.2f} an hour before, and {course.cost_after:.2f} after.")
    if spec.mode is Mode.OBSERVE:
        said.append("The pool is in mode Observe, and was played in mode Enforce: now the operator would only report.")
    if course.how is How.DRAIN and spec.failback.min_dwell_seconds and course.fates:
        said.append(
            f"A pod stays until {span(spec.failback.min_dwell_seconds)} after it was sent or moved there "
            "(failback.minDwellSeconds)."
        )
    if course.how is How.FAILS and spec.failover.running_pods is RunningPods.LEAVE:
        said.append("failover.runningPods is Leave, so running pods stay where they are.")
    if course.how is How.FAILS:
        said.append(
            "All nodes of the provider fall silent at once. Kubernetes' own eviction of their pods, some minutes "
            "later, is not played."
        )
    return said
