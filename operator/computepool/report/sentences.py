"""Sentences about decisions, shared by events, the status, logs and `explain`."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from computepool.decide.plan import Admission, Burst, Move
from computepool.model.api import Mode
from computepool.model.moves import Outcome, PodMove
from computepool.model.reasons import Reason
from computepool.report.formatting import Tally


def in_mode(mode: Mode, text: str) -> str:
    """Mark a text about a decision that is only observed."""
    return f"Observe: {text}" if mode is Mode.OBSERVE else text


_NOT_LISTED: Final = {
    Reason.AT_MAX_ACCELERATORS: "{0} takes pods and has maxAccelerators, which the API server can't count.",
    Reason.CANARY_UNDER_WAY: "{0} is on trial: the next pod that overflows is its first.",
    Reason.WORKLOAD_BACK_OFF: "A workload is held off {0}, and the admission policy can't tell workloads apart.",
}


def held_admission(admission: Admission) -> tuple[Reason, str]:
    """Return why a standby keeps admission closed to less preferred standbys. `admission` has such a standby."""
    why = admission.held_because or Reason.AT_MAX_ACCELERATORS
    reason = why if why is Reason.CANARY_UNDER_WAY else Reason.PREFERRED_STANDBY_FIRST
    order = "Meanwhile admission does not open to a less preferred standby: the operator patches pending pods in order."
    return reason, f"{_NOT_LISTED[why].format(admission.held_by)} {order}"


def burst_tally(bursts: Sequence[Burst], mode: Mode = Mode.ENFORCE) -> Tally:
    """Count how many pods go to each provider. The reason is that of the first pod."""
    sent = "would be sent" if mode is Mode.OBSERVE else "sent"
    directions = Counter(f"to {burst.provider}" for burst in bursts)
    return Tally(f"pod(s) {sent} to standbys", directions, bursts[0].reason.help, in_mode(mode, ""))


def burst_sentence(burst: Burst, mode: Mode = Mode.ENFORCE) -> str:
    """Say where a pod is sent, and why each preferred provider was rejected."""
    sent = in_mode(mode, "would be sent" if mode is Mode.OBSERVE else "Sent")
    signals = f" Signals that are on: {', '.join(burst.signals)}." if burst.signals else ""
    considered = ", ".join(f"{provider}: {reason}" for provider, reason in burst.rejected)
    return f"{sent} to {burst.provider}. {burst.reason.help}{signals} Considered before: {considered}."


def wish_tally(moves: Sequence[Move], mode: Mode = Mode.ENFORCE) -> Tally:
    """Count how many running pods are to go from one provider to another. The reason is that of the first pod."""
    wish = "would be moved" if mode is Mode.OBSERVE else "to be moved"
    directions = (
        f"to {destination(move)}" if move.source == move.target else f"from {move.source} to {move.target}"
        for move in moves
    )
    return Tally(f"running pod(s) {wish}", Counter(directions), moves[0].reason.help, in_mode(mode, ""))


def eviction_tally(moves: Sequence[Move]) -> Tally:
    """Count how many running pods were let go, and for where. The reason and the way are those of the first pod."""
    done = "released from lost nodes" if moves[0].release else "evicted"
    directions = Counter(f"from {move.source} {_meant(move)}" for move in moves)
    return Tally(f"running pod(s) {done}", directions, moves[0].reason.help)


def outcome_tally(moves: Sequence[PodMove], reason: Reason) -> Tally:
    """Count where the replacements of evicted pods went. The outcome of all moves is that of the first move."""
    words = {Outcome.RETURNED: "evicted pod(s) came back", Outcome.NOT_REPLACED: "evicted pod(s) not replaced in time"}
    directions = Counter(_way(move) for move in moves)
    return Tally(words.get(moves[0].outcome, "running pod(s) moved"), directions, reason.help)


def outcome_sentence(move: PodMove, reason: Reason) -> str:
    """Say where the replacement of an evicted pod went, for the pod's own events."""
    bound = "bound on" if move.landed else "bound on a node of no provider of the pool"
    where = "not bound in time" if move.outcome is Outcome.NOT_REPLACED else f"{bound} {move.landed}".rstrip()
    return f"Its replacement was {where} {_meant(move)}. {reason.help}"


def move_sentence(move: Move, mode: Mode = Mode.ENFORCE) -> str:
    """Say that a running pod is let go, where its replacement should run, and why."""
    how = "Released from its lost node" if move.release else "Evicted"
    if mode is Mode.OBSERVE:
        how = in_mode(mode, f"would be {how[0].lower()}{how[1:]}")
    instead = "" if move.source == move.target else f" in place of {move.source}"
    return f"{how}, meant for {destination(move)}{instead}. {move.reason.help}"


def destination(move: Move | PodMove) -> str:
    """Say where the replacement of a moved pod should run."""
    return f"another node of {move.target}" if move.source == move.target else move.target


def _way(move: PodMove) -> str:
    match move.outcome:
        case Outcome.RETURNED:
            return f"to {move.source} {_meant(move)}"
        case Outcome.NOT_REPLACED:
            return f"from {move.source} {_meant(move)}"
        case Outcome.ELSEWHERE:
            return f"from {move.source} to {move.landed or 'a node of no provider'} {_meant(move)}"
        case _:
            return f"to {destination(move)}" if move.source == move.target else f"from {move.source} to {move.target}"


def _meant(move: Move | PodMove) -> str:
    return f"(meant for {destination(move)})"
