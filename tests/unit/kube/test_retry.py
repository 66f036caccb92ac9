"""Delays between attempts."""

from __future__ import annotations

import random

from computepool.kube.errors import TooManyRequests
from computepool.kube.retry import MAX_RETRY_AFTER, REMEMBERED, Backoff, Backoffs


def backoff(base: float = 0.5, cap: float = 8.0) -> Backoff:
    return Backoff(base=base, cap=cap, rng=random.Random(7))


def busy(retry_after: float | None) -> TooManyRequests:
    return TooManyRequests(429, "TooManyRequests", "busy", retry_after=retry_after)


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
    assert backoff().next(busy(30)) == 30
    assert backoff(base=4).next(busy(0.1)) >= 2
    assert backoff(cap=0.5).next(busy(None)) <= 0.5


def test_a_server_that_asks_for_very_much_is_not_believed() -> None:
    assert backoff().next(busy(100_000)) == MAX_RETRY_AFTER


def test_the_caller_may_ask_for_more_and_never_for_less() -> None:
    assert backoff().next(busy(30), at_least=40) == 40
    assert backoff(base=4).next(at_least=0.1) >= 2


def test_a_day_of_failures_does_not_overflow() -> None:
    b = backoff()
    assert max(b.next() for _ in range(5000)) <= 8.0


# -- by key


def backoffs() -> Backoffs:
    return Backoffs(base=1.0, cap=60.0, rng=random.Random(7))


def test_each_key_has_failures_of_its_own_and_starts_over_by_itself() -> None:
    of = backoffs()
    for key in ("a", "a", "a", "b"):
        of.next(key, busy(None))
    assert of.next("a", busy(None)) >= 4.0
    of.reset("a")
    assert of.next("a", busy(None)) <= 1.0
    assert of.next("b", busy(None)) >= 1.0
    of.reset("never seen")


def test_what_the_server_and_the_caller_ask_for_counts_for_a_key_too() -> None:
    assert backoffs().next("a", busy(30)) == 30
    assert backoffs().next("a", busy(None), at_least=15) == 15


def test_keys_whose_objects_are_gone_do_not_pile_up() -> None:
    of = backoffs()
    for number in range(REMEMBERED + 2):
        of.next(str(number), busy(None))
    assert of.next("0", busy(None)) <= 1.0
