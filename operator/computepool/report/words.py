"""Sentences about decisions, shared by events, conditions, logs and `explain`."""

from collections.abc import Iterable, Sequence

from computepool.assess.overflow import Hold
from computepool.decide.plan import Burst, Move
from computepool.model.api import Mode
from computepool.model.reasons import Reason


def in_mode(mode: Mode, words: str) -> str:
    """Mark what is said of something that was only observed."""
    return f"Observe: {words}" if mode is Mode.OBSERVE else words


def burst_message(bursts: Sequence[Burst]) -> str:
    """Say how many pods go where, and why the first of them does."""
    counts: dict[str, int] = {}
    for burst in bursts:
        counts[burst.provider] = counts.get(burst.provider, 0) + 1
    where = ", ".join(f"{count} to {provider}" for provider, count in sorted(counts.items()))
    return f"{len(bursts)} pod(s) sent on: {where}. {bursts[0].reason.help}"


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


def move_message(moves: Sequence[Move], done: str = "moved") -> str:
    """Say how many running pods go from where to where, and why the first of them does.

    `done`: what can be said of them: a decision may still be refused by a disruption budget.
    """
    counts: dict[tuple[str, str], int] = {}
    for move in moves:
        counts[move.source, move.target] = counts.get((move.source, move.target), 0) + 1
    ways = ", ".join(f"{count} from {source} to {target}" for (source, target), count in sorted(counts.items()))
    return f"{len(moves)} running pod(s) {done}: {ways}. {moves[0].reason.help}"


def move_words(move: Move) -> str:
    """Say from where to where a running pod is moved, and why."""
    how = "Released from its lost node" if move.release else "Evicted"
    return f"{how}, to run on {move.target} in place of {move.source}. {move.reason.help}"
