"""Opens the account of a pass: earlier promises take their places first.

The account itself first takes the places of other pools' pods that were sent to a standby. Here follow the pool's own
pods that were sent, then the replacements of moved pods.
"""

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from computepool.assess.capacity.providers import Provider
from computepool.assess.demand.overflow import Hold, Overflow, Sent
from computepool.decide.account.budget import NOTHING, BudgetAccount, cost_of
from computepool.decide.account.capacity_account import BURST, KEPT, SENT_TO_PREEMPT, Account, PlaceRequest
from computepool.decide.burst.bind_timeout import Waiting
from computepool.decide.context import Context
from computepool.decide.move.pending_moves import PendingMoves
from computepool.model.moves import PodMove
from computepool.model.reasons import Reason


class Opened(msgspec.Struct, frozen=True):
    """An account that keeps every promise of earlier passes."""

    account: Account
    waiting: Waiting
    holds: tuple[Hold, ...]
    """One for each pod that waits for the provider to which it was sent."""
    onward: tuple[Overflow, ...]
    """Pods that their provider did not take, for the next provider."""


def open_account(context: Context, budget: BudgetAccount, pending: PendingMoves, label_keys: frozenset[str]) -> Opened:
    """Open the account of a pass. `label_keys`: node labels in the selectors of all pods that need a place."""
    account = Account(context, budget, pending, label_keys)
    waiting = Waiting(context, account)
    holds, onward = _keep_sent(context, account, waiting, context.assessment.demand.sent)
    for move in pending.awaiting:
        _keep_place(context, account, pending, move)
    return Opened(account, waiting, tuple(holds), tuple(onward))


def _keep_sent(
    context: Context, account: Account, waiting: Waiting, sent: Iterable[Sent]
) -> tuple[list[Hold], list[Overflow]]:
    """Take the places of the pool's pods that were sent to standbys. Return holds, and pods for other standbys."""
    standbys = {standby.name: standby for standby in context.standbys}
    holds: list[Hold] = []
    onward: list[Overflow] = []
    for entry in sent:
        pod, offer = entry.pod, entry.offer
        waiting.remember(pod)
        outcome = waiting.at(standbys[offer.provider], pod, offer.at)
        if isinstance(outcome, Hold):
            holds.append(outcome)
        elif pod.uid in context.snapshot.in_flight:
            # The patch of the pod is under way. The next decision waits until the watch shows its outcome. If the pod
            # was sent to preempt others, no other pod may count on their places.
            if outcome is Reason.NO_ROOM:
                account.reserve([PlaceRequest(pod)], standbys[offer.provider], SENT_TO_PREEMPT)
            holds.append(Hold(pod, Reason.AWAITING_SCHEDULER, offer.provider))
        elif entry.home is not None:
            holds.append(entry.home)
        else:
            onward.append(Overflow(pod, Reason.NO_ROOM))
    return holds, onward


def _keep_place(context: Context, account: Account, pending: PendingMoves, move: PodMove) -> None:
    """Take the place of a replacement that is not seen yet, or is no demand yet.

    If the move's target has failed or is full, the replacement will go to another standby. Then it takes a place and
    money there, before any other pod is moved.
    """
    if move.target == context.primary.name and not account.is_open(context.primary):
        return  # The account has its place already.
    target = next((standby for standby in context.standbys if standby.name == move.target), None)
    if target is not None and account.reserve([_request(context, pending, move, target)], target, KEPT) is None:
        return
    for standby in context.standbys:
        allowed = standby is not target and move.pod.allows(standby.name)
        if allowed and account.reserve([_request(context, pending, move, standby)], standby, BURST) is None:
            return


def _request(context: Context, pending: PendingMoves, move: PodMove, provider: Provider) -> PlaceRequest:
    """Return the needs of the replacement, less devices and money that count until the moved pod ends."""
    moved = pending.still_bound.get(move.pod.uid)
    if moved is None:
        return PlaceRequest(move.pod)
    source = next((standby for standby in context.standbys if standby.name == move.source), None)
    ends = source is None or moved.deleting is not None
    saves: Decimal = NOTHING if source is None or ends else cost_of(source, moved, context.resource)
    hands_over = move.source == provider.name and moved.node not in context.lost_nodes

    return PlaceRequest(move.pod, saves, hands_over)
