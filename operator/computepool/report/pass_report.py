"""One pass, as the reports see it."""

import msgspec

from computepool.assess.assessment import Assessment
from computepool.decide.plan import Plan
from computepool.model.snapshot import Snapshot
from computepool.model.state import PoolState


class PassReport(msgspec.Struct, frozen=True):
    """What was seen, what it meant and what was planned; and what the pass could not know."""

    snapshot: Snapshot
    assessment: Assessment
    plan: Plan
    state: PoolState
    """What the next pass goes on from."""
    refused: str = ""
    """The API server's last refusal of a write for this pool; empty once a write has gone through."""
    told: bool = False
    """Whether its bursts were told of before: in mode Observe they stand until their pods are bound, and what the API
    server refused is decided anew at each attempt."""
    moves_told: bool = False
    """Whether its moves were told of before: in mode Observe they stand until the pods are gone."""
    policy_missing: bool = False
    """Whether the pool asks for burst at admission by itself, and the cluster has no policy for it, but could have."""
    unadmitted: str = ""
    """Why new pods are not admitted to standbys as they are created, although spec.admission would have it so."""
    unreadable: str = ""
    """What could not be read of nodes, pods or namespaces, and is missing from the snapshot."""
    unfollowed: str = ""
    """Which of the signals do not come (heartbeats, failed pods), why, and what is not noticed without."""
