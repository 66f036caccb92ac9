"""Snapshots, states and outcomes survive encoding and decoding, and the decoded ones decide the same."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings

from computepool.decide.reconcile import Reconciled, reconcile
from computepool.model.codec import decode, encode
from computepool.model.snapshot import Snapshot
from computepool.model.state import PoolState
from tests.builders import NOW
from tests.unit.core.clusters import Case, cases

often = settings(max_examples=60)


@often
@given(cases())
def test_what_is_read_back_decides_the_same_to_the_letter(case: Case) -> None:
    snapshot, state = decode(encode(case.seen), Snapshot), decode(encode(case.state), PoolState)
    first, second = reconcile(case.seen, case.state, NOW), reconcile(snapshot, state, NOW)
    assert (snapshot, state, second) == (case.seen, case.state, first)
    # And so does the next pass, from a state that was stored with its outcome.
    stored = decode(encode(first), Reconciled)
    assert stored == first
    assert reconcile(snapshot, stored.state, NOW + 30) == reconcile(case.seen, first.state, NOW + 30)


def test_what_is_no_snapshot_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        decode(b"\x80", Snapshot)
    with pytest.raises(msgspec.ValidationError, match="providers"):
        decode(msgspec.msgpack.encode({"pool": {"metadata": {"name": "p"}, "spec": {}}, "nodes": []}), Snapshot)
