"""`computepool check`: a leader that renews its Lease, and pools that it has read; each failure in a sentence."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from computepool.cli.check import CheckError, run
from computepool.cli.console import make_console
from computepool.cli.leader import LeaseAddress
from computepool.model.text import rfc3339
from computepool.model.well_known_keys import TROUBLE_ANNOTATION
from tests.fakes.apiserver import COMPUTEPOOLS, LEASES, FakeApiServer
from tests.unit.app.cluster import make_pool
from tests.unit.cli.serving import Shell, shell

NAMESPACE, NAME = "computepool-system", "computepool"
RENEWED = "2026-11-23T05:00:00.000000Z"
WAIT_SECONDS = 0.6


def lease(holder: str) -> dict[str, Any]:
    spec = {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": RENEWED}
    return {"metadata": {"name": NAME, "namespace": NAMESPACE}, "spec": spec}


def held(server: FakeApiServer) -> None:
    server.create(LEASES, lease("operator-0"))


def report(server: FakeApiServer, generation: int = 1, **ready: str) -> None:
    """Write the status of the only pool as an operator that has seen this generation of its spec."""
    (item,) = server.items(COMPUTEPOOLS)
    ready = {"type": "Ready", "status": "True", "reason": "Reconciled", "message": "", **ready}
    server.update(COMPUTEPOOLS, {**item, "status": {"observedGeneration": generation, "conditions": [ready]}})


@contextmanager
def renewing(sh: Shell) -> Iterator[None]:
    """A leader that renews its Lease the whole time."""
    over = threading.Event()

    def renew(server: FakeApiServer) -> None:
        held = server.get(LEASES, NAME, NAMESPACE)
        renewed = {**held["spec"], "leaseTransitions": held["spec"].get("leaseTransitions", 0) + 1}
        server.update(LEASES, {**held, "spec": renewed})

    def keep_renewing() -> None:
        while not over.wait(0.1):
            sh.server.do(renew)

    thread = threading.Thread(target=keep_renewing)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def fails(sh: Shell, namespace: str = NAMESPACE, name: str = NAME) -> str:
    """What a check that fails says. It waits for less time than a user may ask for."""
    with pytest.raises(CheckError) as failed:
        asyncio.run(
            run(str(sh.kubeconfig), None, LeaseAddress(namespace, name), make_console(), wait_seconds=WAIT_SECONDS)
        )
    return str(failed.value)


def test_a_leader_and_pools_that_it_has_read_are_well(tmp_path: Path) -> None:
    with shell(tmp_path, held) as sh, renewing(sh):
        assert sh.prints("check").splitlines() == [
            "operator-0 leads: it has just renewed the Lease computepool in namespace computepool-system.",
            "There is no ComputePool yet.",
        ]
        sh.server.do(make_pool)
        sh.server.do(report)
        assert sh.prints("check").splitlines()[1:] == ["It has read 1 pool."]


def test_a_pool_that_is_not_ready_is_told_and_is_no_failure_of_the_operator(tmp_path: Path) -> None:
    with shell(tmp_path, held) as sh, renewing(sh):
        sh.server.do(make_pool)
        sh.server.do(lambda server: report(server, status="False", reason="NoNodesMatch", message="Label the nodes."))
        assert sh.prints("check").splitlines()[2:] == [
            "Pool inference is not Ready (NoNodesMatch): Label the nodes.",
        ]


def test_a_failed_check_ends_with_1(tmp_path: Path) -> None:
    with shell(tmp_path, lambda _server: None) as sh:
        assert "Nobody leads" in sh.fails("check", "--wait-seconds", "3")


def test_without_a_lease_nobody_leads(tmp_path: Path) -> None:
    with shell(tmp_path, lambda _server: None) as sh:
        assert "Nobody leads: there is no Lease computepool in namespace computepool-system." in fails(sh)
        assert "there is no Lease mine in namespace elsewhere." in fails(sh, "elsewhere", "mine")


def test_a_lease_that_was_given_back_has_no_leader(tmp_path: Path) -> None:
    with shell(tmp_path, lambda server: server.create(LEASES, lease(""))) as sh:
        assert (
            "Nobody leads: the Lease was last renewed at 2026-11-23T05:00:00Z by a leader that gave it back."
            in fails(sh)
        )


def test_a_lease_that_is_not_renewed_has_a_leader_that_is_gone_whatever_the_clocks_say(tmp_path: Path) -> None:
    def future(server: FakeApiServer) -> None:
        made = lease("operator-0")
        server.create(LEASES, {**made, "spec": {**made["spec"], "renewTime": "2999-01-01T00:00:00.000000Z"}})

    with shell(tmp_path, future) as sh:
        assert "It is not known whether operator-0 still leads." in fails(sh)


def test_a_lease_that_looks_new_and_is_not_renewed_is_no_proof_of_a_leader(tmp_path: Path) -> None:
    def fresh(server: FakeApiServer) -> None:
        made = lease("operator-0")
        server.create(LEASES, {**made, "spec": {**made["spec"], "renewTime": rfc3339(time.time(), "microseconds")}})

    with shell(tmp_path, fresh) as sh:
        assert fails(sh).startswith("operator-0 is not seen to renew its Lease; the last time was ")


def test_a_leader_that_can_not_do_its_work_is_told_in_its_own_words(tmp_path: Path) -> None:
    trouble = {TROUBLE_ANNOTATION: "It may not patch pods."}

    def held_in_trouble(server: FakeApiServer) -> None:
        made = lease("operator-0")
        server.create(LEASES, {**made, "metadata": {**made["metadata"], "annotations": trouble}})

    with shell(tmp_path, held_in_trouble) as sh, renewing(sh):
        assert fails(sh) == "operator-0 leads, and can't do its work: It may not patch pods."


def test_a_pool_that_was_never_reported_on_or_not_since_its_last_change_is_named(tmp_path: Path) -> None:
    with shell(tmp_path, held) as sh, renewing(sh):
        sh.server.do(make_pool)
        assert "has not reported on 1 pool since the last change of the spec: inference." in fails(sh)
        sh.server.do(lambda server: report(server, generation=0))
        assert "has not reported on 1 pool" in fails(sh)


def test_passes_that_fail_are_told_with_their_error(tmp_path: Path) -> None:
    with shell(tmp_path, held) as sh, renewing(sh):
        sh.server.do(make_pool)
        sh.server.do(lambda server: report(server, status="False", reason="PassFailed", message="See the log"))
        assert "Passes over pool inference fail: See the log." in fails(sh)


def test_an_api_server_that_recovers_in_time_is_no_failure(tmp_path: Path) -> None:
    with shell(tmp_path, held) as sh, renewing(sh):
        sh.server.do(lambda server: server.fault("get", path=NAME, status=503, times=1))
        assert "There is no ComputePool yet." in sh.prints("check")


def test_a_missing_right_is_told_at_once(tmp_path: Path) -> None:
    with shell(tmp_path, held) as sh, renewing(sh):
        sh.server.do(lambda server: server.fault("list", path=COMPUTEPOOLS, status=403, message="no"))
        assert "needs the right to get the operator's Lease and list computepools." in sh.fails(
            "check", "--wait-seconds", "60"
        )


def test_a_lease_that_may_not_be_read_is_told_at_once(tmp_path: Path) -> None:
    with shell(tmp_path, held) as sh, renewing(sh):
        sh.server.do(lambda server: server.fault("get", path=NAME, status=403, message="no"))
        assert "It is not known who leads: " in sh.fails("check", "--wait-seconds", "60")
