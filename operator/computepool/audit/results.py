"""What an audit finds. Amounts are in thousandths of an accelerator."""

from collections.abc import Mapping

import msgspec

from computepool.audit.assumptions import Assumptions
from computepool.audit.gaps import Remedy, StrandedWorkload
from computepool.audit.parts import Part


class JudgedLoss(msgspec.Struct, frozen=True):
    """What becomes of the pods when parts of the cluster are lost together."""

    parts: tuple[Part, ...]
    nodes: int
    capacity: int
    """The accelerators of the lost nodes."""
    held: int
    """What pods hold of them."""
    moves: Mapping[str, int]
    """By provider: what it takes."""
    on_demand: Mapping[str, int]
    """Of this, by provider: what it takes only once it has made nodes."""
    awaits_deletion: int
    """Of this: what comes back only once the lost nodes are deleted, because pods keep their names."""
    stranded: int
    workloads: tuple[StrandedWorkload, ...]
    short: Mapping[str, int]
    """By model of the accelerators that they ran on: what is stranded."""
    remedies: tuple[Remedy, ...]
    assumptions: Assumptions = Assumptions()

    @property
    def placed(self) -> int:
        """What has somewhere to go."""
        return sum(self.moves.values())

    @property
    def what(self) -> str:
        """The parts, in words."""
        return " and ".join(map(str, self.parts))
