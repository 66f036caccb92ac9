"""What an audit says of a loss is what the operator then does: both are played on random clusters."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Mapping

import pytest

from computepool.audit.auditing import Question, audit
from computepool.model.accelerators import request_of
from computepool.simulate.simulation import Simulation
from tests.builders import GPU
from tests.unit.audit.random_clusters import PROVIDERS, as_read, random_simulation

CHUNK = 25
LONG_ENOUGH = 1800.0


@pytest.mark.parametrize("first", range(0, 200, CHUNK))
def test_what_would_be_stranded_is_what_is_stranded(first: int) -> None:
    for seed in range(first, first + CHUNK):
        played = random_simulation(seed)
        lost = random.Random(seed + 1_000).choice(PROVIDERS)
        told = audit(as_read(played), Question(lose=(lost,))).losses[0]
        held, stranded = _lose(played, lost)
        assert (told.held, told.stranded) == (held, stranded), f"seed {seed}, {lost} is lost"


def test_whatever_is_stranded_has_a_remedy_in_a_sentence() -> None:
    sentences: set[str] = set()
    for seed in range(CHUNK):
        found = audit(as_read(random_simulation(seed)), Question())
        failed = [check for check in found.checks if not check.passed]
        remedies = [loss.remedies for loss in found.losses if loss.stranded]
        assert all(remedies), f"seed {seed}"
        sentences.update(check.remedy for check in failed)
        sentences.update(remedy.text for some in remedies for remedy in some)
    assert [text for text in sentences if not re.fullmatch(r"[A-Z].* .*\.", text)] == []


def _lose(played: Simulation, lost: str) -> tuple[int, int]:
    """Let a provider fail; return the accelerators that its pods held, and how many of them are stranded in the end.

    A pod of the same owner that waited before may run in place of a lost pod.
    """
    lineage = played.owners.lineage
    there = {lineage[pod.uid]: request_of(pod, GPU) for pod in played.cluster.pods_on(lost)}
    waited = {lineage[pod.uid]: request_of(pod, GPU) for pod in played.cluster.waiting_pods()}
    for node in list(played.cluster.nodes.values()):
        if played.cluster.provider_of(node.name) == lost:
            played.cluster.update_node(node.name, ready="Unknown")
    played.run(LONG_ENOUGH)
    running = {
        lineage[pod.uid]
        for pod in played.cluster.pods.values()
        if pod.node and played.cluster.provider_of(pod.node) != lost
    }
    missing = _by_owner({name: amount for name, amount in there.items() if name not in running})
    missing.subtract(_by_owner({name: amount for name, amount in waited.items() if name in running}))
    return sum(there.values()), sum(amount for amount in missing.values() if amount > 0)


def _by_owner(amounts: Mapping[str, int]) -> Counter[str]:
    sums: Counter[str] = Counter()
    for name, amount in amounts.items():
        sums[name.split("-")[0]] += amount
    return sums
