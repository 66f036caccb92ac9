"""What is wrong with nodes and providers, and since when."""

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from computepool.model.reasons import Reason
from computepool.model.state import Sickness

NOT_SICK: Mapping[str, Sickness] = MappingProxyType({})


class ProviderHealth(msgspec.Struct, frozen=True):
    """The verdict on one provider."""

    sick: Mapping[str, Sickness] = NOT_SICK
    """By node: those that count as sick."""
    failing: Reason | None = None
    """PROVIDER_SILENT or PROVIDER_UNHEALTHY while it fails."""
    detail: str = ""
    """How much of it fails, for people."""
    known: bool = False
    """Whether it can be told: a provider without nodes is neither well nor failing."""


class Health(msgspec.Struct, frozen=True):
    """The verdict on all nodes of a pool."""

    nodes: Mapping[str, Sickness] = NOT_SICK
    """By node: every trouble, sick already or not yet; what the next pass goes on from."""
    providers: Mapping[str, ProviderHealth] = MappingProxyType({})
    """By provider of the pool; each has one."""
    blind: str = ""
    """Why no verdict can be trusted, for people; empty where they can."""
    look_again: float | None = None
    """When time alone may change a verdict, in seconds since the epoch."""
