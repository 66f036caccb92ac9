"""A watch of Leases that shows an old state fails no provider: the process reads the Leases before a breaker opens."""

from __future__ import annotations

from computepool.model.api import UNAVAILABLE_KEY
from tests.fakes.apiserver import COMPUTEPOOLS, LEASES, NODES, FakeApiServer
from tests.fakes.waiting import until
from tests.unit.act.objects import Json
from tests.unit.app.cluster import full, make_pool
from tests.unit.app.playing import Day, play
from tests.unit.app.process import Process

NAMESPACE = "kube-node-lease"
NODE_NAMES = ("a1", "n1", "c1")


def lease(name: str, renewed: str) -> Json:
    spec = {"holderIdentity": name, "leaseDurationSeconds": 2, "renewTime": renewed}
    return {"metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}


def with_leases(server: FakeApiServer, day: Day) -> None:
    full(server)
    for name in NODE_NAMES:
        server.create(LEASES, lease(name, day.stamp()))


def go_on(server: FakeApiServer, process: Process, day: Day, *, hidden: bool) -> None:
    """Renew the Leases of a1 and c1, and that of n1 past the watch if it is `hidden`; then tick."""
    for name in ("a1", "c1"):
        server.update(LEASES, lease(name, day.stamp()))
    if hidden:
        server.get(LEASES, "n1", NAMESPACE)["spec"]["renewTime"] = day.stamp()
    process.parts.caches.tick()


def breaker(server: FakeApiServer, provider: str) -> str:
    (item,) = server.items(COMPUTEPOOLS)
    providers = item.get("status", {}).get("providers", [])
    return next((str(entry["breaker"]["state"]) for entry in providers if entry["name"] == provider), "")


def reads(server: FakeApiServer) -> int:
    return server.count("get", "/leases/n1")


def test_a_provider_whose_renewals_the_watch_does_not_show_stays_in_use() -> None:
    async def scenario(server: FakeApiServer, process: Process, day: Day) -> None:
        make_pool(server, health={"silentSeconds": 1, "clearSeconds": 0})

        def read_and_settled(count: int) -> bool:
            go_on(server, process, day, hidden=True)
            tainted = any(taint["key"] == UNAVAILABLE_KEY for taint in server.get(NODES, "n1")["spec"]["taints"])
            assert breaker(server, "nebius") in ("", "Closed")
            return reads(server) >= count and not tainted

        # The watch goes on to hide the renewals, so the node falls silent again and again.
        await until(lambda: read_and_settled(2), "its Lease is read twice")

    play(scenario, with_leases)


def test_a_provider_whose_lease_is_as_old_as_the_watch_shows_has_failed() -> None:
    async def scenario(server: FakeApiServer, process: Process, day: Day) -> None:
        make_pool(server, health={"silentSeconds": 1})

        def opened() -> bool:
            go_on(server, process, day, hidden=False)
            return breaker(server, "nebius") == "Open"

        await until(opened, "the breaker opens")
        assert reads(server) >= 1

    play(scenario, with_leases)


def test_a_lease_that_can_not_be_read_fails_no_provider_and_that_is_told() -> None:
    async def scenario(server: FakeApiServer, process: Process, day: Day) -> None:
        server.fault("get", path="/leases/n1", times=1000, status=403, message="no right to get leases")
        make_pool(server, health={"silentSeconds": 1})

        def told() -> str:
            go_on(server, process, day, hidden=False)
            process.parts.reconciler.check_view()
            (item,) = server.items(COMPUTEPOOLS)
            conditions = item.get("status", {}).get("conditions", [])
            return next((found["message"] for found in conditions if found["type"] == "Degraded"), "")

        await until(lambda: "no right to get leases" in told(), "it is told")
        assert breaker(server, "nebius") == "Closed"

    play(scenario, with_leases)
