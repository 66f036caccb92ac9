"""Sentences about decisions, shared by events, the status, logs and `explain`."""

from collections import Counter
from collections.abc import Sequence

from computepool.decide.plan import Burst, Move
from computepool.model.api import Mode
from computepool.report.formatting import Tally


def in_mode(mode: Mode, text: str) -> str:
    """Mark a text about a decision that is only observed."""
    return f"Observe: {text}" if mode is Mode.OBSERVE else text


def burst_tally(bursts: Sequence[Burst]) -> Tally:
    """Count how many pods go to each provider. The reason is that of the first pod."""
    return Tally("pod(s) sent to standbys", Counter(f"to {burst.provider}" for burst in bursts), bursts[0].reason.help)


def burst_sentence(burst: Burst) -> str:
    """Say where a pod is sent, and why each preferred provider was rejected."""
    considered = ", ".join(f"{provider}: {reason}" for provider, reason in burst.rejected)
    return f"Sent to {burst.provider}. {burst.reason.help} Considered before: {considered}."


def move_tally(moves: Sequence[Move], done: str = "moved") -> Tally:
    """Count how many running pods go from one provider to another. The reason is that of the first pod.

    `done`: what has happened to them. A pod that is only decided about may still be kept by a disruption budget.
    """
    return Tally(f"running pod(s) {done}", Counter(_direction(move) for move in moves), moves[0].reason.help)


def move_sentence(move: Move) -> str:
    """Say from where to where a running pod is moved, and why."""
    how = "Released from its lost node" if move.release else "Evicted"
    instead = "" if move.source == move.target else f" in place of {move.source}"
    return f"{how}, to run on {destination(move)}{instead}. {move.reason.help}"


def destination(move: Move) -> str:
    """Say where the replacement of a moved pod should run."""
    return f"another node of {move.target}" if move.source == move.target else move.target


def _direction(move: Move) -> str:
    return f"to {destination(move)}" if move.source == move.target else f"from {move.source} to {move.target}"
