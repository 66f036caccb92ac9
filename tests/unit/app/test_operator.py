"""One whole operator process against a fake API server, from start to clean stop."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from computepool.app.endpoints import ServeError
from computepool.app.operator import run as run_operator
from computepool.kube.credentials import AccessError
from tests.builders import POOL
from tests.fakes.apiserver import COMPUTEPOOLS, LEASES, PODS, FakeApiServer
from tests.fakes.waiting import until
from tests.unit.app.cluster import conditions, edit_pool, full, make_pool, overflow, sent
from tests.unit.app.running import NAMESPACE, Running, Site


@pytest.fixture
def site(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Site:
    caplog.set_level("INFO", "computepool")
    return Site(tmp_path, caplog)


# -- a life in order


def test_it_leads_bursts_and_stops_in_order(site: Site) -> None:
    async def scenario(r: Running) -> None:
        make_pool(r.server)
        overflow(r.server, 3)
        await until(lambda: len(sent(r.server)) == 3, "all sent")
        await until(lambda: conditions(r.server).get("Ready") == ("True", "Reconciled"), "and told")
        assert await r.get("/healthz") == (200, "ok\n")
        assert await r.get("/readyz") == (200, "ok\n")
        _, metrics = await r.get("/metrics")
        assert "computepool_leader 1.0" in metrics
        assert f'computepool_pending_pods{{pool="{POOL}"}} 3.0' in metrics
        assert 'computepool_cache_age_seconds{resource="pods"}' in metrics
        assert r.holder() == "operator-1"
        assert await r.end() == 0
        assert r.holder() == "", "the standby need not wait"
        told = {call.json["regarding"]["name"] for call in r.server.calls_of("create", "/events")}
        assert told >= {POOL, *sent(r.server)}, "what was left to tell is told"
        with pytest.raises(aiohttp.ClientError):
            await r.get("/healthz")

    site.play(scenario)


def test_pools_come_change_and_go_while_it_leads(site: Site) -> None:
    async def scenario(r: Running) -> None:
        await r.leads()
        await until(lambda: r.server.count("watch", COMPUTEPOOLS), "pools are watched")
        make_pool(r.server)
        await until(lambda: conditions(r.server).get("Ready") == ("True", "Reconciled"), "it is acted upon")
        edit_pool(r.server, mode="Observe")
        await until(lambda: conditions(r.server)["Ready"] == ("True", "Observing"), "it is only observed")
        r.server.delete(COMPUTEPOOLS, POOL)
        await until(lambda: any("pool gone" in record.getMessage() for record in r.caplog.records), "it is gone")
        _, metrics = await r.get("/metrics")
        assert f'pool="{POOL}"' not in metrics

    site.play(scenario)


def test_nothing_is_written_on_pools_but_their_status(site: Site) -> None:
    # No finalizers and no annotations: a pool can be deleted whether the operator runs or not.
    async def scenario(r: Running) -> None:
        await until(lambda: r.server.count("watch", COMPUTEPOOLS), "pools are watched")
        before = make_pool(r.server)["metadata"]
        await until(lambda: conditions(r.server), "it is acted upon")
        edit_pool(r.server, mode="Observe")
        await until(lambda: conditions(r.server)["Ready"] == ("True", "Observing"), "it is only observed")
        after = r.server.get(COMPUTEPOOLS, POOL)["metadata"]
        assert after.keys() == before.keys()
        written = [call.path for call in r.server.calls if call.verb in ("patch", "update") and "pools" in call.path]
        assert {path.rsplit("/", 1)[-1] for path in written} == {"status"}

    site.play(scenario)


# -- a standby


def _held(server: FakeApiServer) -> None:
    full(server, 3)
    make_pool(server)
    spec = {"holderIdentity": "another", "leaseDurationSeconds": 60}
    server.create(LEASES, {"metadata": {"name": "computepool", "namespace": NAMESPACE}, "spec": spec})


def test_a_standby_is_ready_and_writes_nothing(site: Site) -> None:
    async def scenario(r: Running) -> None:
        await r.says("/readyz", 200, "ok")
        await until(lambda: r.server.count("get", "/leases/") >= 2, "it asks for the lease")
        _, metrics = await r.get("/metrics")
        assert "computepool_leader 0.0" in metrics
        assert [call.path for call in r.server.calls if call.verb not in ("get", "list", "watch")] == []
        assert await r.end() == 0
        assert r.holder() == "another"

    site.play(scenario, _held)


def test_a_standby_that_gets_the_lease_acts_on_what_it_has_seen_before(site: Site) -> None:
    async def scenario(r: Running) -> None:
        await r.says("/readyz", 200, "ok")
        lease = r.server.get(LEASES, "computepool", NAMESPACE)
        r.server.update(LEASES, {**lease, "spec": {**lease["spec"], "holderIdentity": ""}})
        await until(lambda: len(sent(r.server)) == 3, "all sent")

    site.play(scenario, _held)


# -- leadership lost


def test_a_leader_whose_lease_another_has_taken_ends_with_1_and_leaves_it_alone(site: Site) -> None:
    async def scenario(r: Running) -> None:
        await r.leads()
        lease = r.server.get(LEASES, "computepool", NAMESPACE)
        r.server.update(LEASES, {**lease, "spec": {**lease["spec"], "holderIdentity": "another"}})
        assert await r.ended() == 1
        assert r.holder() == "another"
        (line,) = [record for record in r.caplog.records if "no longer leading" in record.getMessage()]
        assert "another process" in vars(line)["fields"]["error"]

    site.play(scenario)


def test_a_leader_that_can_not_renew_ends_with_1_and_says_why(site: Site) -> None:
    async def scenario(r: Running) -> None:
        await r.leads()
        r.server.fault("get", path="/leases/", times=1000, status=500, message="etcd is away")
        assert await r.ended() == 1
        (line,) = [record for record in r.caplog.records if "no longer leading" in record.getMessage()]
        assert "etcd is away" in vars(line)["fields"]["error"]

    site.play(scenario, lease_seconds=1.5)


def test_the_lease_is_kept_while_there_are_no_pools_to_list(site: Site) -> None:
    async def scenario(r: Running) -> None:
        await r.leads()
        before = r.server.count("patch", "/leases/")
        await until(lambda: r.server.count("patch", "/leases/") >= before + 3, "it goes on renewing")
        r.server.behaviour.absent.clear()
        make_pool(r.server)
        await until(lambda: conditions(r.server), "the pool is acted upon")

    site.play(scenario, _without_crd, lease_seconds=1.5)


# -- what is not there yet


def _without_crd(server: FakeApiServer) -> None:
    full(server, 3)
    server.behaviour.absent.add(COMPUTEPOOLS)


def test_a_crd_that_is_not_there_yet_is_waited_for_and_readiness_says_so(site: Site) -> None:
    async def scenario(r: Running) -> None:
        text = await r.says("/readyz", 503, "pools are not listed yet")
        assert "404" in text
        assert "CRD" in text
        assert await r.get("/healthz") == (200, "ok\n")
        r.server.behaviour.absent.clear()
        make_pool(r.server)
        await until(lambda: len(sent(r.server)) == 3, "all sent")
        assert await r.get("/readyz") == (200, "ok\n")

    site.play(scenario, _without_crd)


def test_an_api_server_that_is_away_at_the_start_is_waited_for(site: Site) -> None:
    async def before(server: FakeApiServer) -> None:
        full(server, 3)
        make_pool(server)
        await server.stop()

    async def scenario(r: Running) -> None:
        await r.says("/readyz", 503, "cannot list")
        assert await r.get("/healthz") == (200, "ok\n")
        await r.server.start()
        await until(lambda: len(sent(r.server)) == 3, "all sent")

    site.play(scenario, before)


def test_a_right_that_is_missing_is_named_by_readiness(site: Site) -> None:
    async def scenario(r: Running) -> None:
        text = await r.says("/readyz", 503, "forbidden")
        assert "pods are not listed yet: cannot list pods" in text
        assert 'User "x" cannot list pods' in text
        assert "ClusterRole" in text
        assert await r.end() == 0

    def before(server: FakeApiServer) -> None:
        full(server)
        refusal: dict[str, Any] = {"path": PODS, "times": 1000, "status": 403, "message": 'User "x" cannot list pods'}
        server.fault("list", **refusal)
        server.fault("watch", **refusal)

    site.play(scenario, before)


def _deny_pods(server: FakeApiServer) -> None:
    message = 'pods is forbidden: User "x" cannot list resource "pods"'
    for verb in ("list", "watch"):
        server.fault(verb, path=PODS, times=100_000, status=403, message=message)


def test_an_operator_without_a_view_leads_and_says_so_and_keeps_what_was_known(site: Site) -> None:
    async def scenario(r: Running) -> None:
        await r.leads()
        before = {"name": "aws", "nodes": 7}
        await until(lambda: conditions(r.server).get("Ready") == ("False", "AccessMissing"), "the pool says so")
        assert conditions(r.server)["Degraded"] == ("True", "AccessMissing")
        (pool,) = r.server.items(COMPUTEPOOLS)
        assert [{name: one[name] for name in before} for one in pool["status"]["providers"]] == [before]
        _, metrics = await r.get("/metrics")
        assert f'computepool_condition{{pool="{POOL}",status="False",type="Ready"}} 1.0' in metrics
        await until(lambda: _trouble(r), "the Lease says so")
        assert "cannot list pods" in _trouble(r)
        assert sent(r.server) == {}
        r.server.faults.clear()
        await until(lambda: len(sent(r.server)) == 3, "all sent")
        await until(lambda: conditions(r.server).get("Ready") == ("True", "Reconciled"), "and told")
        await until(lambda: not _trouble(r), "the Lease too")
        assert await r.get("/readyz") == (200, "ok\n")

    def before(server: FakeApiServer) -> None:
        full(server, 3)
        item = make_pool(server)
        server.update(COMPUTEPOOLS, {**item, "status": {"providers": [{"name": "aws", "nodes": 7}]}})
        _deny_pods(server)

    site.play(scenario, before)


def _trouble(r: Running) -> str:
    lease = r.server.get(LEASES, "computepool", NAMESPACE)
    return str(lease["metadata"].get("annotations", {}).get("computepool.io/trouble", ""))


def test_a_status_that_may_not_be_written_is_told_by_readiness_and_by_the_lease(site: Site) -> None:
    async def scenario(r: Running) -> None:
        await r.says("/readyz", 503, "can't be written")
        await until(lambda: "can't be written" in _trouble(r), "the Lease says so")
        r.server.faults.clear()
        await until(lambda: conditions(r.server).get("Ready") == ("True", "Reconciled"), "it is written")
        await until(lambda: not _trouble(r), "the Lease too")
        assert await r.get("/readyz") == (200, "ok\n")

    def before(server: FakeApiServer) -> None:
        full(server)
        make_pool(server)
        server.fault("patch", path=COMPUTEPOOLS, times=1000, status=403, message='cannot patch resource "x"')

    site.play(scenario, before)


def test_an_operator_that_may_not_have_the_lease_says_so(site: Site) -> None:
    async def scenario(r: Running) -> None:
        text = await r.says("/readyz", 503, "this process can't be elected")
        assert 'cannot get resource "leases"' in text
        assert "let the operator's ServiceAccount get leases" in text
        r.server.faults.clear()
        await r.leads()
        assert await r.get("/readyz") == (200, "ok\n")

    def before(server: FakeApiServer) -> None:
        full(server)
        path = f"/namespaces/{NAMESPACE}/leases/"
        server.fault("get", path=path, times=1000, status=403, message='cannot get resource "leases"')

    site.play(scenario, before)


def test_a_leader_that_can_not_be_recorded_does_nothing_and_readiness_says_so(site: Site) -> None:
    async def scenario(r: Running) -> None:
        await r.leads()
        text = await r.says("/readyz", 503, "not recorded")
        assert "webhook is away" in text
        assert await r.get("/healthz") == (200, "ok\n")
        assert sent(r.server) == {}
        r.server.faults.clear()
        await until(lambda: len(sent(r.server)) == 3, "all sent")
        assert await r.get("/readyz") == (200, "ok\n")

    def before(server: FakeApiServer) -> None:
        full(server, 3)
        make_pool(server)
        server.fault("get", path="/serviceaccounts/", times=1000, status=500, message="webhook is away")

    site.play(scenario, before)


def test_it_can_be_stopped_while_the_record_of_the_leader_does_not_answer(site: Site) -> None:
    async def scenario(r: Running) -> None:
        await until(lambda: r.server.count("get", "/serviceaccounts/"), "it asks")
        assert await r.end() == 0
        assert r.holder() == "", "the standby need not wait"

    def before(server: FakeApiServer) -> None:
        full(server)
        server.fault("get", path="/serviceaccounts/", gate=asyncio.Event())

    site.play(scenario, before)


@pytest.mark.parametrize("absent", [PODS, COMPUTEPOOLS, "/apis/coordination.k8s.io"])
def test_it_can_be_stopped_at_any_stage_of_its_start(site: Site, absent: str) -> None:
    async def scenario(r: Running) -> None:
        await until(lambda: any(call.path.startswith(absent) for call in r.server.calls), "it asks")
        assert await r.end() == 0

    site.play(scenario, lambda server: server.behaviour.absent.add(absent))


def test_a_port_that_is_taken_ends_it_with_a_sentence(site: Site) -> None:
    async def scenario(first: Running) -> None:
        settings = site.settings(first.server, port=await first.port())
        with pytest.raises(ServeError, match="--http-port"):
            await run_operator(settings, asyncio.Event())

    site.play(scenario)


def test_no_way_to_the_cluster_ends_it_with_a_sentence(site: Site) -> None:
    async def scenario(first: Running) -> None:
        settings = site.settings(first.server, kubeconfig=str(site.folder / "nowhere"))
        with pytest.raises(AccessError, match="nowhere"):
            await run_operator(settings, asyncio.Event())

    site.play(scenario)
