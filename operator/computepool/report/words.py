"""Sentences about decisions, shared by events, conditions, logs and `explain`."""

from collections import Counter
from collections.abc import Iterable, Sequence

from computepool.assess.demand.overflow import Hold
from computepool.decide.plan import Burst, Move
from computepool.model.api import Mode
from computepool.model.reasons import Reason
from computepool.report.tally import Tally


def in_mode(mode: Mode, words: str) -> str:
    """Mark what is said of something that was only observed."""
    return f"Observe: {words}" if mode is Mode.OBSERVE else words


def burst_tally(bursts: Sequence[Burst]) -> Tally:
    """Count how many pods go where; with why the first of them does."""
    return Tally("pod(s) sent on", Counter(f"to {burst.provider}" for burst in bursts), bursts[0].reason.help)


def burst_message(bursts: Sequence[Burst]) -> str:
    """Say how many pods go where, and why the first of them does."""
    return str(burst_tally(bursts))


def options(rejected: Iterable[tuple[str, Reason]]) -> str:
    """Say which providers were considered before, and why each was rejected: `aws: NoRoom, nebius: Pinned`."""
    return ", ".join(f"{provider}: {reason}" for provider, reason in rejected)


def burst_words(burst: Burst) -> str:
    """Say where a pod is sent, and why not to a provider before."""
    return f"Sent on to {burst.provider}. {burst.reason.help} Considered before: {options(burst.rejected)}."


def hold_words(hold: Hold) -> str:
    """Say why a pod waits, and what fit did not look at."""
    words = hold.reason.help
    if hold.provider:
        words += f" Provider: {hold.provider}."
    if hold.rejected:
        words += f" Considered: {options(hold.rejected)}."
    if hold.pod.shape.unmodelled:
        words += f" Not looked at: {', '.join(hold.pod.shape.unmodelled)}; the scheduler decides on those."
    return words


def move_tally(moves: Sequence[Move], done: str = "moved") -> Tally:
    """Count how many running pods go from where to where; with why the first of them does.

    `done`: what can be said of them: a decision may still be refused by a disruption budget.
    """
    return Tally(f"running pod(s) {done}", Counter(_way(move) for move in moves), moves[0].reason.help)


def move_message(moves: Sequence[Move], done: str = "moved") -> str:
    """Say how many running pods go from where to where, and why the first of them does."""
    return str(move_tally(moves, done))


def move_words(move: Move) -> str:
    """Say from where to where a running pod is moved, and why."""
    how = "Released from its lost node" if move.release else "Evicted"
    instead = "" if move.source == move.target else f" in place of {move.source}"
    return f"{how}, to run on {place_words(move)}{instead}. {move.reason.help}"


def place_words(move: Move) -> str:
    """Say where the pod that takes the moved one's place should run."""
    return f"another node of {move.target}" if move.source == move.target else move.target


def _way(move: Move) -> str:
    return f"to {place_words(move)}" if move.source == move.target else f"from {move.source} to {move.target}"
