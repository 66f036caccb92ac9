"""Where the cluster has no policy for burst at admission: who is told, and how loudly."""

from __future__ import annotations

import pytest

from computepool.model.api import AdmissionMode
from computepool.model.reasons import Reason
from computepool.report.pass_report import AdmissionGap, Gaps, admission_gap
from tests.unit.report.passes import report_on, said


@pytest.mark.parametrize(
    ("mode", "missing", "unserved", "told"),
    [
        (AdmissionMode.OFF, True, False, None),
        (AdmissionMode.OFF, True, True, None),
        (AdmissionMode.WHEN_SATURATED, False, False, None),
        (AdmissionMode.WHEN_SATURATED, True, False, AdmissionGap.NOT_INSTALLED),
        (AdmissionMode.WHEN_SATURATED, True, True, AdmissionGap.NOT_SERVED),
        (AdmissionMode.ALWAYS, False, False, None),
        (AdmissionMode.ALWAYS, True, False, AdmissionGap.DEMANDED),
        (AdmissionMode.ALWAYS, True, True, AdmissionGap.NOT_SERVED),
    ],
)
def test_only_who_asks_for_it_and_could_have_it_misses_it(
    mode: AdmissionMode, missing: bool, unserved: bool, told: AdmissionGap | None
) -> None:
    assert admission_gap(mode, missing=missing, unserved=unserved) is told


@pytest.mark.parametrize("gap", [AdmissionGap.NOT_SERVED, AdmissionGap.NOT_INSTALLED])
def test_a_cluster_that_has_none_makes_a_pool_ready_and_not_degraded(gap: AdmissionGap) -> None:
    of = report_on(gaps=Gaps(admission=gap))
    assert said(of, "Ready") == ("True", "Reconciled", f"{Reason.RECONCILED.help} {gap}")
    assert said(of, "Degraded")[:2] == ("False", "AllWell")
