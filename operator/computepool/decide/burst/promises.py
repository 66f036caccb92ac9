"""Opening the account: whatever was promised before this pass takes its place first.

In this order: pods of other pools that were sent on (in the account itself), the pool's own pods that were sent on, and
the replacements of pods that were moved.
"""

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from computepool.assess.capacity.providers import Provider
from computepool.assess.demand.overflow import Hold, Overflow, Sent
from computepool.decide.account.account import BURST, KEPT, Account, Request
from computepool.decide.account.budget import NOTHING, BudgetAccount, cost_of
from computepool.decide.burst.waiting import Waiting
from computepool.decide.context import Context
from computepool.decide.move.pending import PendingMoves
from computepool.model.moves import PodMove
from computepool.model.reasons import Reason


class Opened(msgspec.Struct, frozen=True):
    """An account in which every promise is kept."""

    account: Account
    waiting: Waiting
    """The pods that wait where they were sent."""
    holds: tuple[Hold, ...]
    """How they wait."""
    onward: tuple[Overflow, ...]
    """Pods that were sent on in vain, to be offered to the next provider."""


def open_account(context: Context, budget: BudgetAccount, pending: PendingMoves, label_keys: frozenset[str]) -> Opened:
    """Open the account of a pass. `label_keys`: node labels that any pod reads that will ask for a place."""
    account = Account(context, budget, pending, label_keys)
    waiting = Waiting(context, account)
    holds, onward = _keep_sent(context, waiting, context.assessment.demand.sent)
    for move in pending.awaiting:
        _keep_place(context, account, pending, move)
    return Opened(account, waiting, tuple(holds), tuple(onward))


def _keep_sent(context: Context, waiting: Waiting, sent: Iterable[Sent]) -> tuple[list[Hold], list[Overflow]]:
    """Take the places of the pool's own pods that were sent on; return how they wait, and which go onward."""
    targets = {target.name: target for target in context.standbys}
    holds: list[Hold] = []
    onward: list[Overflow] = []
    for one in sent:
        waiting.remember(one.pod)
        outcome = waiting.at(targets[one.offer.provider], one.pod, one.offer.at)
        if isinstance(outcome, Hold):
            holds.append(outcome)
        elif one.pod.uid in context.snapshot.in_flight:
            # Its write is under way: until that is seen nothing else is decided about it.
            holds.append(Hold(one.pod, Reason.AWAITING_SCHEDULER, one.offer.provider))
        elif one.home is not None:
            holds.append(one.home)
        else:
            onward.append(Overflow(one.pod, Reason.NO_ROOM))
    return holds, onward


def _keep_place(context: Context, account: Account, pending: PendingMoves, move: PodMove) -> None:
    """Take the place of a replacement that is not seen yet, so that no other pod does.

    Where its target has failed since, or is full, it will be sent on: then it has a place elsewhere, and the money for
    it, before another running pod is moved.
    """
    if move.target == context.primary.name and not account.is_open(context.primary):
        # The account has taken its place on the primary.
        return
    meant = next((target for target in context.standbys if target.name == move.target), None)
    if meant is not None and account.reserve([_request(context, pending, move, meant)], meant, KEPT) is None:
        return
    for target in context.standbys:
        allowed = target is not meant and move.pod.allows(target.name)
        if allowed and account.reserve([_request(context, pending, move, target)], target, BURST) is None:
            return


def _request(context: Context, pending: PendingMoves, move: PodMove, target: Provider) -> Request:
    """Return what the replacement needs, less what the moved pod still holds: that is counted, and ends with it."""
    there = pending.there.get(move.pod.uid)
    if there is None:
        return Request(move.pod)
    source = next((standby for standby in context.standbys if standby.name == move.source), None)
    ends = source is None or there.deleting is not None
    saves: Decimal = NOTHING if source is None or ends else cost_of(source, there, context.resource)
    hands_over = move.source == target.name and there.node not in context.lost_nodes
    return Request(move.pod, saves, hands_over)
