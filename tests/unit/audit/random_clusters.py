"""Random clusters of three providers, as the simulation plays them and as an audit reads them."""

from __future__ import annotations

import random

from computepool.audit.cluster import AuditedNode, AuditedPod, Cluster, Owner
from computepool.audit.node_labels import place_of
from computepool.model.api import ComputePool
from computepool.model.cluster import Node
from computepool.simulate.owners import PodTemplate
from computepool.simulate.simulation import Simulation
from tests.builders import NOW, node, pool, provider, shape

PROVIDERS = ("aws", "nebius", "crusoe")
SIZES = (1, 2, 4, 8)
SETTLED_SECONDS = 120.0


def random_pool(order: random.Random) -> ComputePool:
    """A pool of the three providers; some standbys have a limit."""
    limit = order.choice([None, None, 4, 12])
    return pool(
        provider("aws"),
        provider("nebius", max_accelerators=limit),
        provider("crusoe"),
        failover={"runningPods": "Move", "maxConcurrentMoves": 50},
        health={"silentSeconds": 20, "maxUnhealthyPercent": 100},
        failback={"policy": "Never", "minDwellSeconds": 0},
    )


def random_nodes(order: random.Random) -> list[Node]:
    """Some nodes of each provider, of two sizes and two zones."""
    return [
        node(f"{name[0]}{index}", order.choice((4, 8)), of=name, labels={"zone": order.choice("xy")})
        for name in PROVIDERS
        for index in range(order.randint(1, 4))
    ]


def random_simulation(seed: int) -> Simulation:
    """A cluster whose pods have come to rest."""
    order = random.Random(seed)
    played = Simulation(random_pool(order), random_nodes(order), NOW)
    # Otherwise small pods may take the places that larger pods need. No account of capacity can know that.
    played.scheduler.packs = True
    for _ in range(order.randint(1, 5)):
        selector = {"zone": order.choice("xy")} if order.random() < 0.2 else {}
        volumes = ["volumes"] if order.random() < 0.15 else []
        template = PodTemplate(
            shape(order.choice(SIZES), selector=selector, unmodelled=volumes),
            movable=order.choice((None, None, None, None, True, False)),
            priority=order.choice((0, 0, 10)),
            allowed=order.choice((None, None, None, ("crusoe",), ())),
        )
        played.clock.advance(3.0)
        played.owners.create(template, order.randint(1, 6))
        played.run(SETTLED_SECONDS)
    return played


def as_read(played: Simulation) -> Cluster:
    """The cluster as an audit reads it at this moment."""
    return Cluster(
        nodes=tuple(AuditedNode(found, place_of(found.labels)) for found in played.cluster.nodes.values()),
        pods=tuple(
            AuditedPod(pod, Owner(pod.owner_kind, pod.owner, "apps/v1", pod.owner))
            for pod in played.cluster.pods.values()
        ),
        now=played.clock.now,
        pools=(played.cluster.pool,),
    )
