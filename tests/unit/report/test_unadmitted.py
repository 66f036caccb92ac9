"""Where the cluster has no policy for burst at admission: who is told, and how loudly."""

from __future__ import annotations

import pytest

from computepool.model.api import AdmissionMode
from computepool.model.reasons import Reason
from computepool.report.unadmitted import Without, without_policy
from tests.unit.report.outcomes import outcome, said


@pytest.mark.parametrize(
    ("mode", "missing", "unserved", "told"),
    [
        (AdmissionMode.OFF, True, False, None),
        (AdmissionMode.OFF, True, True, None),
        (AdmissionMode.WHEN_SATURATED, False, False, None),
        (AdmissionMode.WHEN_SATURATED, True, False, Without.UNUSED),
        (AdmissionMode.WHEN_SATURATED, True, True, Without.UNSERVED),
        (AdmissionMode.ALWAYS, False, False, None),
        (AdmissionMode.ALWAYS, True, False, Without.MISSED),
        (AdmissionMode.ALWAYS, True, True, Without.UNSERVED),
    ],
)
def test_only_who_asks_for_it_and_could_have_it_misses_it(
    mode: AdmissionMode, missing: bool, unserved: bool, told: Without | None
) -> None:
    assert without_policy(mode, missing=missing, unserved=unserved) is told


@pytest.mark.parametrize("without", [Without.UNSERVED, Without.UNUSED])
def test_a_cluster_that_has_none_makes_a_pool_ready_and_not_degraded(without: Without) -> None:
    of = outcome(unadmitted=str(without))
    assert said(of, "Ready") == ("True", "Reconciled", f"{Reason.RECONCILED.help} {without}")
    assert said(of, "Degraded")[:2] == ("False", "AllWell")
