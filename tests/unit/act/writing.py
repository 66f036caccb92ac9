"""A writer in front of a fake API server, with its callbacks' calls and the delays for which it did not wait."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from computepool.act.pod_patcher import PodPatcher
from computepool.act.write_access import NotLeadingError, WriteAccess
from computepool.kube.client import ApiClient
from computepool.kube.credentials import static_access
from computepool.kube.runtime import Runtime
from computepool.model.cluster import Offer, RefusedOffer
from tests.builders import NOW
from tests.fakes.apiserver import FakeApiServer
from tests.fakes.waiting import PATIENCE


class Lease:
    """A fence that a test opens and closes; closed by itself after so many checks, where that is said."""

    def __init__(self) -> None:
        self.held = True
        self.lost_after: int | None = None
        self.checks = 0

    def check(self) -> None:
        self.checks += 1
        if not self.held or (self.lost_after is not None and self.checks > self.lost_after):
            raise NotLeadingError("told to lose the lease")


@dataclass
class Delays:
    """A sleep that is over at once, or once a test says so."""

    asked: list[float] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        await self.over.wait()


class LatestDraw(random.Random):
    """Draws the upper bound, so that delays are known."""

    def uniform(self, a: float, b: float) -> float:
        return max(a, b)


class Told:
    """What the writer told, by pod uid."""

    def __init__(self) -> None:
        self.offers: dict[str, Offer] = {}
        self.versions: dict[str, int] = {}
        self.in_doubt: list[str] = []
        self.unwritten: list[str] = []
        self.refused_offers: list[tuple[str, RefusedOffer]] = []

    def start(self, uid: str, offer: Offer) -> None:
        self.offers[uid] = offer

    def written(self, uid: str, version: int) -> None:
        self.versions[uid] = version

    def doubted(self, uid: str) -> None:
        self.in_doubt.append(uid)

    def refusals(self, uid: str, provider: str, now: float) -> int:
        assert now == NOW
        return sum(known == uid and refused.provider == provider for known, refused in self.refused_offers)

    def refused(self, uid: str, refused: RefusedOffer) -> None:
        self.refused_offers.append((uid, refused))

    def failed(self, uid: str) -> None:
        self.unwritten.append(uid)


@dataclass
class Writing:
    """What a test looks at."""

    server: FakeApiServer
    client: ApiClient
    writer: PodPatcher
    lease: Lease
    delays: Delays
    told: Told
    answers: int = 0

    def answer(self) -> None:
        """Count the successful writes."""
        self.answers += 1


@asynccontextmanager
async def writing(*, within: float = PATIENCE) -> AsyncIterator[Writing]:
    """Serve, and make a writer that has not written yet."""
    lease, delays = Lease(), Delays()
    told = Told()
    async with FakeApiServer() as server, ApiClient(static_access(server.url), timeout=within) as client:
        runtime = Runtime(wall=lambda: NOW, rng=LatestDraw(), sleep=delays)
        writer = PodPatcher(WriteAccess(client, lease, runtime, "me"), told)
        try:
            yield Writing(server, client, writer, lease, delays, told)
        finally:
            await writer.settle()


def play(scenario: Callable[[Writing], Awaitable[None]], *, within: float = PATIENCE) -> None:
    """Run a scenario."""

    async def run() -> None:
        async with writing(within=within) as w:
            await scenario(w)

    asyncio.run(run())


def always() -> bool:
    """Nobody has changed the pool."""
    return True
