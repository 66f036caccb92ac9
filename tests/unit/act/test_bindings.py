"""The admission policy's Bindings follow the pools and the policy."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from computepool.act.policy_bindings import Bindings
from computepool.act.write_access import NotLeadingError
from computepool.kube.client import ApiClient
from computepool.kube.credentials import static_access
from computepool.kube.errors import ApiError
from tests.builders import POOL
from tests.fakes.apiserver import BINDINGS, POLICIES, FakeApiServer
from tests.fakes.faults import Verb
from tests.unit.act.objects import Json, pool, pool_record, stored_pool
from tests.unit.act.writing import Lease

NAME = f"computepool-{POOL}"
OURS = {"app.kubernetes.io/managed-by": "computepool"}
WRITES: tuple[Verb, ...] = ("create", "patch", "delete", "update")


@dataclass
class Keeping:
    """What a test looks at."""

    server: FakeApiServer
    client: ApiClient
    lease: Lease
    bindings: Bindings
    policy: Json

    async def sync(self, *items: Json) -> bool:
        pools = [pool_record(item) for item in items]
        return await self.bindings.sync({pool.name: pool for pool in pools})

    def kept(self, name: str = NAME) -> Json:
        return self.server.get(BINDINGS, name)

    def names(self) -> list[str]:
        return [item["metadata"]["name"] for item in self.server.items(BINDINGS)]

    def writes(self) -> int:
        return sum(self.server.count(verb) for verb in WRITES)


def play(scenario: Callable[[Keeping], Awaitable[None]], *, policy: bool = True) -> None:
    async def run() -> None:
        async with FakeApiServer() as server, ApiClient(static_access(server.url)) as client:
            lease = Lease()
            made = install(server) if policy else {}
            await scenario(Keeping(server, client, lease, Bindings(client, lease, ("ours", "kube-system")), made))

    asyncio.run(run())


def install(server: FakeApiServer) -> Json:
    return server.create(POLICIES, {"metadata": {"name": "computepool-burst"}})


def item(**how: Any) -> Json:
    """A pool as served."""
    made = pool(admission="WhenSaturated", **how)
    return {**made, "metadata": {"uid": "u", "resourceVersion": "1", **made["metadata"]}}


def test_a_pool_gets_a_binding_of_its_own() -> None:
    async def scenario(k: Keeping) -> None:
        assert await k.sync(item(workloads={"podSelector": {"matchLabels": {"app": "web"}}}))
        kept = k.kept()
        assert kept["metadata"]["labels"] == {**OURS, "computepool.io/pool": POOL}
        assert kept["metadata"]["ownerReferences"] == [
            {
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "MutatingAdmissionPolicy",
                "name": "computepool-burst",
                "uid": k.policy["metadata"]["uid"],
            }
        ]
        assert kept["spec"]["policyName"] == "computepool-burst"
        assert kept["spec"]["paramRef"] == {"name": POOL, "parameterNotFoundAction": "Allow"}
        assert kept["spec"]["matchResources"]["objectSelector"]["matchLabels"] == {"app": "web"}

    play(scenario)


def test_reserved_namespaces_are_never_looked_at_whatever_the_pool_selects() -> None:
    chosen = {"matchExpressions": [{"key": "team", "operator": "Exists"}], "matchLabels": {"env": "prod"}}

    async def scenario(k: Keeping) -> None:
        await k.sync(item(workloads={"namespaceSelector": chosen}))
        assert k.kept()["spec"]["matchResources"]["namespaceSelector"] == {
            "matchLabels": {"env": "prod"},
            "matchExpressions": [
                {"key": "team", "operator": "Exists"},
                {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", "ours"]},
            ],
        }

    play(scenario)


def test_nothing_is_written_again_where_nothing_has_changed() -> None:
    async def scenario(k: Keeping) -> None:
        await k.sync(item())
        await k.sync(item())
        assert k.writes() == 1

    play(scenario)


def test_a_binding_of_the_operator_before_is_taken_over_as_it_is() -> None:
    async def scenario(k: Keeping) -> None:
        await k.sync(item())
        before = k.kept()
        successor = Bindings(k.client, k.lease, ("ours", "kube-system"))
        stored = pool_record(item())
        await successor.sync({stored.name: stored})
        await successor.sync({stored.name: stored})
        assert k.kept() == before
        assert k.server.count("patch") == 1, "patched once, because its last body is unknown"

    play(scenario)


def test_one_that_somebody_else_made_is_adopted_and_ends_with_its_pool() -> None:
    async def scenario(k: Keeping) -> None:
        k.server.create(BINDINGS, {"metadata": {"name": NAME}, "spec": {"policyName": "theirs"}})
        await k.sync(item())
        assert k.kept()["spec"]["policyName"] == "computepool-burst"
        assert k.kept()["metadata"]["labels"] == {**OURS, "computepool.io/pool": POOL}
        writes = k.writes()
        await k.sync(item())
        assert k.writes() == writes
        await k.sync()
        assert k.names() == []

    play(scenario)


def test_a_selector_that_loses_a_label_loses_it_in_the_binding_too() -> None:
    async def scenario(k: Keeping) -> None:
        await k.sync(item(workloads={"podSelector": {"matchLabels": {"app": "web", "tier": "gold"}}}))
        await k.sync(item(workloads={"podSelector": {"matchLabels": {"app": "web"}}}))
        assert k.kept()["spec"]["matchResources"]["objectSelector"]["matchLabels"] == {"app": "web"}

    play(scenario)


def test_one_that_somebody_changed_is_put_right() -> None:
    async def scenario(k: Keeping) -> None:
        await k.sync(item())
        before = k.kept()
        k.server.update(BINDINGS, {**before, "spec": {**before["spec"], "paramRef": {"name": "another"}}})
        await k.sync(item())
        assert k.kept()["spec"] == before["spec"]

    play(scenario)


def test_one_that_somebody_deleted_is_made_again() -> None:
    async def scenario(k: Keeping) -> None:
        await k.sync(item())
        k.server.delete(BINDINGS, NAME)
        await k.sync(item())
        assert k.names() == [NAME]

    play(scenario)


def test_the_binding_of_a_pool_that_is_gone_is_deleted_and_others_stay() -> None:
    async def scenario(k: Keeping) -> None:
        k.server.create(BINDINGS, {"metadata": {"name": "somebody-elses"}})
        await k.sync(item(name="one"), item(name="two"))
        await k.sync(item(name="two"))
        assert k.names() == ["computepool-two", "somebody-elses"]

    play(scenario)


@pytest.mark.parametrize("how", [{"mode": "Observe"}, {"admission": {"mode": "Off"}}])
def test_a_pool_that_admits_nobody_has_no_binding(how: Json) -> None:
    async def scenario(k: Keeping) -> None:
        await k.sync(item())
        closed = item()
        await k.sync({**closed, "spec": {**closed["spec"], **how}})
        assert k.names() == []

    play(scenario)


def test_without_the_policy_there_is_nothing_to_bind_to() -> None:
    async def scenario(k: Keeping) -> None:
        assert not await k.sync(item())
        assert k.writes() == 0

    play(scenario, policy=False)


def test_without_the_api_there_is_no_policy() -> None:
    async def scenario(k: Keeping) -> None:
        k.server.behaviour.absent.add("/apis/admissionregistration.k8s.io")
        assert not await k.sync(item())
        assert not k.bindings.served

    play(scenario)


def test_that_there_is_no_policy_is_told_from_an_api_server_that_knows_none() -> None:
    async def scenario(k: Keeping) -> None:
        assert not await k.sync(item())
        assert k.bindings.served
        # As before Kubernetes 1.36, where the group has other resources.
        k.server.behaviour.absent.add(POLICIES)
        assert not await k.sync(item())
        assert not k.bindings.served
        k.server.behaviour.absent.clear()
        assert not await k.sync(item())
        assert k.bindings.served

    play(scenario, policy=False)


def test_a_policy_that_is_made_anew_owns_the_bindings_again() -> None:
    async def scenario(k: Keeping) -> None:
        await k.sync(item())
        k.server.delete(POLICIES, "computepool-burst")
        assert not await k.sync(item())
        anew = install(k.server)
        assert await k.sync(item())
        assert k.kept()["metadata"]["ownerReferences"][0]["uid"] == anew["metadata"]["uid"]

    play(scenario)


def test_nothing_is_written_without_the_lease() -> None:
    async def scenario(k: Keeping) -> None:
        k.lease.held = False
        with pytest.raises(NotLeadingError):
            await k.sync(item())
        k.server.create(BINDINGS, {"metadata": {"name": "computepool-orphan", "labels": OURS}})
        with pytest.raises(NotLeadingError):
            await k.sync()
        assert k.writes() == 0

    play(scenario)


def test_a_binding_that_is_gone_as_it_is_deleted_is_no_failure() -> None:
    async def scenario(k: Keeping) -> None:
        await k.sync(item())
        k.server.fault("delete", status=404)
        assert await k.sync()

    play(scenario)


@pytest.mark.parametrize(
    ("verb", "path"),
    [("get", POLICIES), ("list", BINDINGS), ("create", BINDINGS), ("patch", BINDINGS), ("delete", BINDINGS)],
)
@pytest.mark.parametrize("fault", [{"status": 403}, {"status": 500}, {"body": b"<html>"}])
def test_after_any_failure_the_next_sync_ends_what_this_one_began(verb: Verb, path: str, fault: Json) -> None:
    async def scenario(k: Keeping) -> None:
        k.server.create(BINDINGS, {"metadata": {"name": "computepool-orphan", "labels": OURS}})
        k.server.create(BINDINGS, {"metadata": {"name": "computepool-two"}})
        k.server.fault(verb, path=path, **fault)
        wanted = item(name="one"), item(name="two")
        # The answer to a DELETE does not matter.
        if not (verb == "delete" and "body" in fault):
            with pytest.raises(ApiError):
                await k.sync(*wanted)
        await k.sync(*wanted)
        await k.sync(*wanted)
        assert k.names() == ["computepool-one", "computepool-two"]
        assert {k.kept(name)["spec"]["policyName"] for name in k.names()} == {"computepool-burst"}

    play(scenario)


def test_the_selectors_are_those_of_the_stored_pool() -> None:
    # Through the types and back: nothing of what the API knows of selectors is lost.
    expressions = [
        {"key": "app", "operator": "In", "values": ["web", "api"]},
        {"key": "tier", "operator": "DoesNotExist"},
    ]

    async def scenario(k: Keeping) -> None:
        stored = stored_pool(k.server, admission="Always", workloads={"podSelector": {"matchExpressions": expressions}})
        await k.bindings.sync({stored.name: stored})
        assert k.kept()["spec"]["matchResources"]["objectSelector"]["matchExpressions"] == expressions

    play(scenario)
