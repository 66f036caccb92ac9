"""Which fields of a pool's spec differ, with their defaults filled in."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from computepool.model.api import ApiModel, PoolSpec

_NAMED = ("providers", "metrics")
"""Lists whose items have names: a provider that changes its place is the same provider."""


class SpecChange(msgspec.Struct, frozen=True):
    """One field that differs."""

    field: str
    """Its path, such as `spec.providers[nebius].capacity.maxAccelerators`."""
    before: Any
    """Its value as JSON has it; None if it is not set."""
    after: Any


def spec_changes(before: PoolSpec, after: PoolSpec) -> tuple[SpecChange, ...]:
    """Return the fields that differ, in the order of the API reference."""
    return tuple(_changes("spec", _object(before), _object(after)))


def _object(spec: ApiModel) -> dict[str, Any]:
    return spec.to_object()


def _changes(path: str, before: Any, after: Any) -> Iterable[SpecChange]:
    if before == after:
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in dict.fromkeys((*before, *after)):
            yield from _changes(f"{path}.{name}", before.get(name), after.get(name))
    elif path.rpartition(".")[2] in _NAMED and isinstance(before, list) and isinstance(after, list):
        yield from _changes_of_items(path, before, after)
    else:
        yield SpecChange(path, before, after)


def _changes_of_items(path: str, before: list[Any], after: list[Any]) -> Iterable[SpecChange]:
    olds, news = ({item["name"]: item for item in items} for items in (before, after))
    for name in dict.fromkeys((*olds, *news)):
        if name in olds and name in news:
            yield from _changes(f"{path}[{name}]", olds[name], news[name])
        else:
            yield SpecChange(f"{path}[{name}]", olds.get(name), news.get(name))
    # What is new or gone is told above. Here only the order counts, which is the order of preference.
    kept_before, kept_after = [name for name in olds if name in news], [name for name in news if name in olds]
    if kept_before != kept_after:
        yield SpecChange(f"{path} (order)", list(olds), list(news))
