"""A signal that is edited begins anew: whether it was on tells nothing of its new thresholds or its new query.

Otherwise pods would go on leaving a provider for a threshold that a person has raised because it was too low.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from computepool.model.api import ComputePool, MetricSignal
from computepool.model.signals import HEALTH, SATURATION
from computepool.model.state import PoolState

Definitions = Mapping[str, str]
"""By `saturation/<name>` or `health/<name>`: all that decides what a value of the signal means."""


TIMES: Final = {"sustain_seconds", "clear_seconds", "max_age_seconds", "coverage_percent"}
"""Fields that say when a value counts, and not what it means."""


def definitions_of(pool: ComputePool) -> Definitions:
    """Return the definitions of a pool's signals."""
    return {
        **{f"{SATURATION}/{metric.name}": _definition(metric) for metric in pool.spec.saturation.metrics},
        **{f"{HEALTH}/{metric.name}": _definition(metric) for metric in pool.spec.health.metrics},
    }


def without_edited(state: PoolState, definitions: Definitions) -> PoolState:
    """Return the state without the signals whose definition is another than in the last pass of this process."""
    before = state.memory.signal_definitions
    edited = {key for key, definition in definitions.items() if before.get(key, definition) != definition}
    if not edited:
        return state
    return PoolState(
        msgspec.structs.replace(
            state.recorded,
            signals_on=frozenset(key for key in state.recorded.signals_on if _of_signal(key) not in edited),
        ),
        msgspec.structs.replace(
            state.memory,
            signals={key: found for key, found in state.memory.signals.items() if _of_signal(key) not in edited},
        ),
    )


def _of_signal(key: str) -> str:
    """Return the key of a definition: of a signal's key without the provider and the node."""
    return "/".join(key.split("/")[:2])


def _definition(metric: MetricSignal) -> str:
    return metric.model_dump_json(exclude=TIMES)
