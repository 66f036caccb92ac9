"""The conditions of a pool: Ready, Saturated, Bursting, Degraded, BudgetExhausted, Resilient, Configured, and
SignalsKnown."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from computepool.assess.configuration.finding import Severity
from computepool.assess.demand.saturation import percent
from computepool.model.api import Condition, ConditionStatus, Mode, OnExhausted
from computepool.model.quantity import whole
from computepool.model.reasons import Reason
from computepool.report.findings import configuration_problems
from computepool.report.formatting import full_stop
from computepool.report.pass_report import PassReport
from computepool.report.problems import configured_wrongly, message_about, notices_of, problems_of
from computepool.report.resilience import resilience_of
from computepool.report.signals import signals_told

READY, SATURATED, BURSTING, DEGRADED, RESILIENT = "Ready", "Saturated", "Bursting", "Degraded", "Resilient"
BUDGET_EXHAUSTED, SIGNALS_KNOWN, CONFIGURED = "BudgetExhausted", "SignalsKnown", "Configured"

Verdict = tuple[ConditionStatus, Reason, str]
"""A condition's status, reason and message."""
_TRUE, _FALSE, _UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN


def conditions_of(report: PassReport, before: tuple[Condition, ...], now: datetime) -> tuple[Condition, ...]:
    """Return all conditions; each keeps its transition time while its status stays."""
    generation = report.snapshot.pool.metadata.generation
    return tuple(condition(kind, judge(report), generation, before, now) for kind, judge in _JUDGES.items())


def condition(kind: str, verdict: Verdict, generation: int, before: tuple[Condition, ...], now: datetime) -> Condition:
    """Return one condition; its transition time is kept from `before` while its status stays."""
    status, reason, message = verdict
    old = next((found for found in before if found.type == kind), None)
    return Condition(
        type=kind,
        status=status,
        reason=reason,
        message=message,
        last_transition_time=old.last_transition_time if old is not None and old.status is status else now,
        observed_generation=generation,
    )


def failed_conditions(
    error: Exception, generation: int, before: tuple[Condition, ...], now: datetime
) -> tuple[Condition, ...]:
    """Return the conditions after a pass that failed: what it would have found is unknown, so the others stay."""
    verdicts: dict[str, Verdict] = {
        READY: (_FALSE, Reason.PASS_FAILED, Reason.PASS_FAILED.help),
        DEGRADED: (_TRUE, Reason.PASS_FAILED, f"{Reason.PASS_FAILED.help} {type(error).__name__}: {error}"),
    }
    return _replaced(verdicts, generation, before, now)


def unseen_conditions(
    why: str, generation: int, before: tuple[Condition, ...], now: datetime, *, denied: bool
) -> tuple[Condition, ...]:
    """Return the conditions while no pass could be made: what it would have found is unknown, so the others stay."""
    ready, degraded = _lost(why, denied=denied), _UNKNOWN
    if denied:
        degraded = _TRUE
    return _replaced({READY: ready, DEGRADED: (degraded, *ready[1:])}, generation, before, now)


def _replaced(
    verdicts: Mapping[str, Verdict], generation: int, before: tuple[Condition, ...], now: datetime
) -> tuple[Condition, ...]:
    kept = {found.type: found for found in before}
    made = {kind: condition(kind, verdict, generation, before, now) for kind, verdict in verdicts.items()}
    return tuple((kept | made).values())


def _lost(why: str, *, denied: bool) -> Verdict:
    """Return the verdict of Ready about a view that is not current: False if only a person can mend it."""
    if denied:
        return _FALSE, Reason.ACCESS_MISSING, full_stop(why)
    return _UNKNOWN, Reason.CACHE_STALE, full_stop(why)


def _ready(report: PassReport) -> Verdict:
    if (unseen := _unseen(report)) is not None:
        return unseen
    if report.plan.frozen:
        reason = Reason.NO_NODES_MATCH if report.assessment.primary.countable else Reason.DEVICES_UNKNOWN
        return _FALSE, reason, full_stop(report.plan.frozen)
    if report.snapshot.pool.spec.mode is Mode.OBSERVE:
        return _plain(_TRUE, Reason.OBSERVING)
    return _TRUE, Reason.RECONCILED, " ".join(filter(None, (Reason.RECONCILED.help, report.gaps.admission)))


def _saturated(report: PassReport) -> Verdict:
    saturation = report.assessment.saturation
    if report.plan.frozen or saturation.saturated is None:
        return _plain(_UNKNOWN, Reason.PRIMARY_UNKNOWN)
    return (_TRUE if saturation.saturated else _FALSE), saturation.reason, saturation_message(report)


def saturation_message(report: PassReport) -> str:
    """Say how full the primary is, and what follows."""
    primary = report.assessment.primary
    used = "no accelerator can be used now"
    if primary.allocatable:
        counts = f"{whole(primary.allocated)} of {whole(primary.allocatable)}"
        used = f"{counts} accelerators allocated ({percent(primary)} %)"
    return f"{primary.provider.name}: {used}. {_why_saturated(report)}{_pressing(report)}"


def _why_saturated(report: PassReport) -> str:
    """Say what was judged: the same share, thresholds and timers as the verdict."""
    saturation, primary = report.assessment.saturation, report.assessment.primary
    spec = report.snapshot.pool.spec.saturation
    enter = f"allocation.enterPercent ({spec.allocation.enter_percent})"
    leave = f"allocation.exitPercent ({spec.allocation.exit_percent})"
    on_demand = primary.provider.kind.before_room
    full = "That is" if primary.allocatable else "That counts as 100 %, which is"
    match saturation.reason:
        case Reason.PRIMARY_HAS_ROOM if on_demand:
            return "No pod overflows. The primary makes nodes on demand, so its allocation is not judged."
        case Reason.PRIMARY_HAS_ROOM if saturation.pressure_since is not None:
            return f"{full} at or above {enter}, but not yet for sustainSeconds ({spec.sustain_seconds})."
        case Reason.PRIMARY_HAS_ROOM if percent(primary) >= spec.allocation.enter_percent:
            return f"With the nodes that are starting, less than {enter} is allocated."
        case Reason.PRIMARY_HAS_ROOM:
            return f"That is below {enter}."
        case Reason.PRIMARY_CLEARING if on_demand:
            return f"No pod overflows any more, but not yet for clearSeconds ({spec.clear_seconds})."
        case Reason.PRIMARY_CLEARING:
            return f"That is at or below {leave}, but not yet for clearSeconds ({spec.clear_seconds})."
        case Reason.PRIMARY_ALLOCATED if percent(primary) < spec.allocation.enter_percent:
            return f"That is above {leave}, so the primary is still saturated."
        case Reason.PRIMARY_ALLOCATED:
            return f"{full} at or above {enter}."
        case reason:
            return reason.help


def _pressing(report: PassReport) -> str:
    """Name the signals that are on. Their values are in `status.signals`: here they would change the message often."""
    pressing = report.assessment.signals.pressing
    return f" Signals that are on: {', '.join(pressing)}." if pressing else ""


def _bursting(report: PassReport) -> Verdict:
    pods = {supply.provider.name: supply.pods for supply in report.assessment.supplies[1:] if supply.pods}
    if not pods:
        return _plain(_FALSE, Reason.NO_BURST_PODS)
    message = f"{sum(pods.values())} pod(s) run on a standby provider: {_by_provider(pods)}."
    return _TRUE, Reason.PODS_ON_STANDBY, message


def _degraded(report: PassReport) -> Verdict:
    problems, notices = problems_of(report), notices_of(report)
    if problems:
        return _TRUE, problems[0].reason, message_about([*problems, *notices])
    if (unseen := _unseen(report)) is not None:
        return unseen
    return (_FALSE, notices[0].reason, message_about(notices)) if notices else _plain(_FALSE, Reason.ALL_WELL)


def _budget_exhausted(report: PassReport) -> Verdict:
    budget = report.snapshot.pool.spec.budget
    if budget is None:
        return _plain(_FALSE, Reason.NO_BUDGET)
    if not report.plan.exhausted:
        return _plain(_FALSE, Reason.WITHIN_BUDGET)
    bounds = [("an hour", budget.per_hour), ("a day", budget.per_day)]
    allowed = " and ".join(f"{amount} {span}" for span, amount in bounds if amount is not None)
    returned = "would be" if report.observed else "are"
    home = f"{returned} brought home as there is room"
    running = home if budget.on_exhausted is OnExhausted.RETURN else "go on, and cost"
    return _TRUE, Reason.BUDGET_EXHAUSTED, f"{Reason.BUDGET_EXHAUSTED.help} It is {allowed}; pods there {running}."


def _resilient(report: PassReport) -> Verdict:
    if report.snapshot.stale:
        return _plain(_UNKNOWN, Reason.CACHE_STALE)
    if report.plan.exhausted:
        # However much room there is, no pod may use it.
        return _plain(_FALSE, Reason.BUDGET_EXHAUSTED)
    room = resilience_of(report)
    if not room.any:
        return _plain(_FALSE, Reason.NO_STANDBY_ROOM)
    parts = [f"free accelerators: {_by_provider(room.free)}"] if room.free else []
    parts += [f"{name} {made_by}" for name, made_by in room.made.items()]
    if room.others_only:
        message = f"{'; '.join(parts)}, for other pods only. {Reason.NO_ROOM_FOR_RUNNING_PODS.help}"
        return _FALSE, Reason.NO_ROOM_FOR_RUNNING_PODS, message
    return _TRUE, Reason.STANDBY_HAS_ROOM, f"{'; '.join(parts)}."


def _configured(report: PassReport) -> Verdict:
    """Say whether the manifest fits the cluster."""
    if report.snapshot.stale:
        return _plain(_UNKNOWN, Reason.CACHE_STALE)
    if problems := configured_wrongly(report):
        return _FALSE, problems[0].reason, message_about(problems)
    if told := configuration_problems(report, Severity.INFORMATION):
        return _TRUE, told[0].reason, message_about(told)
    return _plain(_TRUE, Reason.CONFIGURATION_WELL)


def _signals_known(report: PassReport) -> Verdict:
    told = signals_told(report)
    if not told:
        return _plain(_TRUE, Reason.NO_SIGNALS)
    if (unseen := _unseen(report)) is not None:
        return _UNKNOWN, *unseen[1:]
    unknown = [one for one in told if one.signal.reading.unknown is not None]
    if not unknown:
        return _plain(_TRUE, Reason.SIGNALS_KNOWN)
    reason = unknown[0].signal.reading.unknown or Reason.NO_ANSWER
    return _FALSE, reason, " ".join(f"{one.key}: {one.missing}" for one in unknown)


_JUDGES: Final[dict[str, Callable[[PassReport], Verdict]]] = {
    READY: _ready,
    SATURATED: _saturated,
    BURSTING: _bursting,
    DEGRADED: _degraded,
    BUDGET_EXHAUSTED: _budget_exhausted,
    RESILIENT: _resilient,
    CONFIGURED: _configured,
    SIGNALS_KNOWN: _signals_known,
}


def _plain(status: ConditionStatus, reason: Reason) -> Verdict:
    return status, reason, reason.help


def _unseen(report: PassReport) -> Verdict | None:
    """Return the verdict about a pool whose state can't be seen now; None where it can."""
    if report.snapshot.stale:
        return _lost(report.snapshot.stale, denied=report.gaps.denied)
    if report.assessment.all_silent:
        return _UNKNOWN, Reason.ALL_SILENT, full_stop(report.assessment.all_silent)
    return None


def _by_provider(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} on {name}" for name, count in counts.items())
