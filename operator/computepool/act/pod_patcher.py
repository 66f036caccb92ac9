"""Carries out a plan's bursts and marks: in parallel, fenced, each failure mapped once to waiting or giving up.

Invariant 8: nothing is kept here that the pods do not show. A process that dies between two patches has sent some pods
on and not others; the next leader reads which from the pods themselves.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

import msgspec

from computepool.act.fence import WriteAccess
from computepool.act.outcomes import joined
from computepool.act.patches import burst_patch, label_patch
from computepool.act.tasks import BackgroundTasks
from computepool.decide.plan import Burst, LabelFix
from computepool.kube import paths, wire
from computepool.kube.errors import ApiError, Conflict, NotFound, Unavailable, decoded
from computepool.kube.retry import Backoffs
from computepool.model.cluster import Offer, Pod

PARALLEL = 32
"""Patches under way at once: enough to keep an API server busy, few enough to leave it room for others."""
MARKS_PARALLEL = 4
_logger = logging.getLogger(__name__)
RETRY_BASE_SECONDS = 1.0
RETRY_CAP_SECONDS = 60.0
DOUBT_SECONDS = 15.0
"""How long a patch without a clear answer keeps its place, unless the watch shows it sooner.

The API server may have stored it all the same, or be about to: released at once, the place would be given away twice.
The API server drops a request whose client is gone, and its watch shows within seconds what it did store."""
_STORED = msgspec.json.Decoder(wire.Stored)


class BurstCallbacks(Protocol):
    """What the writer tells as it goes. Each patch that was started is answered by `written` or `failed`."""

    def start(self, uid: str, offer: Offer) -> None:
        """The patch of a pod is about to be sent."""

    def written(self, uid: str, version: int) -> None:
        """The patch made this resourceVersion of the pod."""

    def doubted(self, uid: str) -> None:
        """The patch may have been written: the watch may show it. `failed` follows."""

    def failed(self, uid: str) -> None:
        """The patch was not written."""


class Written(NamedTuple):
    """What became of one pass's bursts; each field is in the plan's order."""

    done: tuple[Burst, ...] = ()
    refused: tuple[tuple[Burst, ApiError], ...] = ()
    gone: tuple[Burst, ...] = ()


class PodPatcher:
    """Patches pods."""

    def __init__(
        self,
        access: WriteAccess,
        callbacks: BurstCallbacks,
    ) -> None:
        """Nothing is written yet."""
        self._client = access.client
        self._fence = access.fence
        self._callbacks = callbacks
        self._wall = access.runtime.wall
        self._sleep = access.runtime.sleep
        self._slots = asyncio.Semaphore(PARALLEL)
        self._mark_slots = asyncio.Semaphore(MARKS_PARALLEL)
        self._backoffs = Backoffs(base=RETRY_BASE_SECONDS, cap=RETRY_CAP_SECONDS, rng=access.runtime.rng)
        self._marking: set[str] = set()
        self._tasks = BackgroundTasks()
        self._releases: dict[str, asyncio.Task[None]] = {}

    def start(self, bursts: Iterable[Burst]) -> tuple[Burst, ...]:
        """Note the bursts as under way, before anything is awaited, so that the next pass counts their places."""
        started = tuple(bursts)
        now = self._wall()
        for burst in started:
            if (release := self._releases.pop(burst.pod.uid, None)) is not None:
                # It was meant for the offer before, which was seen on the pod in the meantime.
                release.cancel()
            self._callbacks.start(burst.pod.uid, Offer(burst.provider, now))
        return started

    async def burst(
        self, bursts: tuple[Burst, ...], *, wanted: Callable[[], bool], answered: Callable[[], None]
    ) -> Written:
        """Send the pods on, for as long as that is `wanted`: a pool may go while its pods queue here.

        `answered` is called as each patch has gone through. Raises NotLeadingError as soon as leadership is in doubt.
        """
        return joined(Written, await asyncio.gather(*(self._burst(burst, wanted, answered) for burst in bursts)))

    async def mark(self, label_fixes: Iterable[LabelFix]) -> None:
        """Correct labels, a few at a time; a pod whose correction is under way, or to be tried again, is left alone."""
        fresh = [mark for mark in label_fixes if mark.pod.uid not in self._marking]
        self._marking.update(mark.pod.uid for mark in fresh)
        await asyncio.gather(*(self._mark(mark) for mark in fresh))

    async def settle(self) -> None:
        """Drop the waits for retries; called at the end."""
        await self._tasks.cancel()

    async def _burst(self, burst: Burst, wanted: Callable[[], bool], answered: Callable[[], None]) -> Written:
        pod = burst.pod
        try:
            async with self._slots:
                if not wanted():
                    self._give_up(pod.uid)
                    return Written()
                self._fence.check()
                version = await self._patch(pod, burst_patch(burst, self._wall()))
        except (NotFound, Conflict) as error:
            # Until the watch says so too, the next pass would find it waiting and send it on again.
            self._later(pod.uid, error)
            return Written(gone=(burst,))
        except Unavailable as error:
            self._later(pod.uid, error, at_least=DOUBT_SECONDS)
            self._callbacks.doubted(pod.uid)
            return Written(refused=((burst, error),))
        except ApiError as error:
            self._later(pod.uid, error)
            return Written(refused=((burst, error),))
        self._backoffs.reset(pod.uid)
        self._callbacks.written(pod.uid, version)
        answered()
        return Written(done=(burst,))

    async def _mark(self, mark: LabelFix) -> None:
        async with self._mark_slots:
            self._fence.check()
            try:
                await self._patch(mark.pod, label_patch(mark))
            except ApiError as error:
                # The label is for readers: that it is late is no condition of the pool.
                _logger.info("label of %s/%s not corrected: %s", mark.pod.namespace, mark.pod.name, error)
                self._later(mark.pod.uid, error)
            else:
                self._backoffs.reset(mark.pod.uid)
                self._marking.discard(mark.pod.uid)

    async def _patch(self, pod: Pod, body: dict[str, Any]) -> int:
        path = paths.pod(pod.namespace, pod.name)
        answer = await self._client.merge_patch(path, body, {"fieldManager": "computepool"}, metadata_only=True)
        return int(decoded(_STORED, answer, request=f"PATCH {path}").metadata.resource_version)

    def _give_up(self, uid: str) -> None:
        self._backoffs.reset(uid)
        self._callbacks.failed(uid)

    def _later(self, uid: str, error: ApiError, *, at_least: float = 0.0) -> None:
        """Let the pod be decided again after a while; until then its place stays taken and it is left alone."""
        delay = self._backoffs.next(uid, error, at_least=at_least)
        self._releases[uid] = self._tasks.spawn(self._release(uid, delay))

    async def _release(self, uid: str, delay: float) -> None:
        await self._sleep(delay)
        self._releases.pop(uid, None)
        self._marking.discard(uid)
        self._callbacks.failed(uid)
