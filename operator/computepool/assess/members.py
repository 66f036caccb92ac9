"""The nodes of a pool, as every judge gets them."""

from collections.abc import Mapping, Sequence

from computepool.model.cluster import NodeInfo

Members = Mapping[str, Sequence[NodeInfo]]
"""By provider: its nodes."""
