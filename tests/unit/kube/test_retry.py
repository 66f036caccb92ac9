"""Delays between attempts."""

from __future__ import annotations

import random

from computepool.kube.retry import Backoff


def backoff(base: float = 0.5, cap: float = 8.0) -> Backoff:
    return Backoff(base=base, cap=cap, rng=random.Random(7))


def test_delays_double_up_to_the_cap_and_are_jittered_downwards() -> None:
    delays = [backoff_delay for b in [backoff()] for backoff_delay in (b.next() for _ in range(8))]
    for delay, ceiling in zip(delays, [0.5, 1, 2, 4, 8, 8, 8, 8], strict=True):
        assert ceiling / 2 <= delay <= ceiling
    assert len(set(delays)) == len(delays)


def test_a_success_starts_over() -> None:
    b = backoff()
    for _ in range(5):
        b.next()
    b.reset()
    assert b.failures == 0
    assert b.next() <= 0.5


def test_the_server_may_ask_for_more_and_never_for_less() -> None:
    assert backoff().next(at_least=30) == 30
    assert backoff(base=4).next(at_least=0.1) >= 2


def test_a_day_of_failures_does_not_overflow() -> None:
    b = backoff()
    assert max(b.next() for _ in range(5000)) <= 8.0
