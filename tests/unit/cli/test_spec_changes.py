"""Which fields of a spec differ."""

from __future__ import annotations

from typing import Any

from computepool.cli.spec_changes import SpecChange, spec_changes
from tests.builders import pool, provider


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[SpecChange]:
    return list(spec_changes(*(pool(*spec.pop("providers", ()), **spec).spec for spec in (before, after))))


def test_a_default_that_is_written_is_no_change() -> None:
    assert changes({}, {"placement": "Ordered", "failback": {"policy": "Never"}}) == []


def test_a_provider_is_told_by_its_name_wherever_it_stands() -> None:
    before = [provider("aws"), provider("nebius", max_accelerators=8), provider("crusoe")]
    after = [provider("aws"), provider("crusoe"), provider("nebius", max_accelerators=4)]
    assert changes({"providers": before}, {"providers": after}) == [
        SpecChange("spec.providers[nebius].capacity.maxAccelerators", 8, 4),
        SpecChange("spec.providers (order)", ["aws", "nebius", "crusoe"], ["aws", "crusoe", "nebius"]),
    ]


def test_a_provider_that_is_new_or_gone_is_one_change() -> None:
    found = changes(
        {"providers": [provider("aws"), provider("nebius")]}, {"providers": [provider("aws"), provider("crusoe")]}
    )
    assert [(change.field, change.before is None, change.after is None) for change in found] == [
        ("spec.providers[nebius]", False, True),
        ("spec.providers[crusoe]", True, False),
    ]


def test_an_object_that_is_added_is_one_change() -> None:
    priced = [provider("aws"), provider("nebius", price="3")]
    assert changes({"providers": priced}, {"providers": priced, "budget": {"perHour": "5"}}) == [
        SpecChange("spec.budget", None, {"perHour": "5", "onExhausted": "Hold"})
    ]


def test_signals_are_told_by_their_names() -> None:
    signal = {"name": "queue", "query": "waiting", "enter": "5", "exit": "1"}
    found = changes({"metrics": [signal]}, {"metrics": [{**signal, "enter": "7"}]})
    assert found == [SpecChange("spec.saturation.metrics[queue].enter", "5", "7")]
