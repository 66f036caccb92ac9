"""Carries out a plan's bursts and label fixes, in parallel.

Invariant 8: the pods themselves show which of them were sent to a standby. If the process dies between two patches, the
next leader reads this from the pods.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

import msgspec

from computepool.act.outcomes import joined
from computepool.act.patches import burst_patch, label_patch
from computepool.act.tasks import BackgroundTasks
from computepool.act.write_access import WriteAccess, refuses_patch
from computepool.decide.plan import Burst, LabelFix
from computepool.kube import paths, wire
from computepool.kube.denial import with_advice
from computepool.kube.errors import ApiError, Conflict, NotFound, Unavailable, decoded
from computepool.kube.retry import Backoffs, jittered
from computepool.model.cluster import Offer, Pod, RefusedOffer

PARALLEL = 32
"""Limit for bursts under way at once: enough to keep an API server busy, and few enough for its other clients."""
LABEL_FIXES_PARALLEL = 4
_logger = logging.getLogger(__name__)
RETRY_BASE_SECONDS = 1.0
RETRY_CAP_SECONDS = 60.0
DOUBT_SECONDS = 15.0
"""How long a patch without a clear answer keeps its place, unless the watch shows the patch sooner.

The API server may have stored the patch, or may still do it. If the place were free at once, two pods could get it. The
API server drops a request whose client is gone, and its watch shows a stored patch within seconds."""
_STORED = msgspec.json.Decoder(wire.Stored)


class BurstCallbacks(Protocol):
    """Gets the progress of each patch. Each started patch ends with `written` or `failed`."""

    def start(self, uid: str, offer: Offer) -> None:
        """The patch of a pod is about to be sent."""

    def written(self, uid: str, version: int) -> None:
        """The patch made this resourceVersion of the pod."""

    def doubted(self, uid: str) -> None:
        """It is unknown whether the patch was written. `failed` follows."""

    def refusals(self, uid: str, provider: str, now: float) -> int:
        """Return how often in a row the API server has refused to send the pod to the provider.

        `now`: seconds since the epoch.
        """

    def refused(self, uid: str, refused: RefusedOffer) -> None:
        """The API server refuses this patch, and may accept one that sends the pod to another provider.

        `failed` follows: after the first refusal in a row once the next attempt is due, later at once.
        """

    def failed(self, uid: str) -> None:
        """The patch was not written."""


class Written(NamedTuple):
    """One pass's bursts by result; each field is in the plan's order."""

    done: tuple[Burst, ...] = ()
    refused: tuple[tuple[Burst, ApiError], ...] = ()
    """Patches that the API server does not accept as they are."""
    failed: tuple[tuple[Burst, ApiError], ...] = ()
    """Patches that failed for another reason: the same patch may succeed later."""
    gone: tuple[Burst, ...] = ()


class PodPatcher:
    """Patches pods."""

    def __init__(self, access: WriteAccess, callbacks: BurstCallbacks) -> None:
        """Nothing is written yet."""
        self._writes = access.writes
        self._callbacks = callbacks
        self._wall = access.runtime.wall
        self._sleep = access.runtime.sleep
        self._slots = asyncio.Semaphore(PARALLEL)
        self._fix_slots = asyncio.Semaphore(LABEL_FIXES_PARALLEL)
        self._rng = access.runtime.rng
        self._backoffs = Backoffs(base=RETRY_BASE_SECONDS, cap=RETRY_CAP_SECONDS, rng=access.runtime.rng)
        # The uids of pods whose label fixes are under way or wait for another attempt.
        self._fixing: set[str] = set()
        self._tasks = BackgroundTasks()
        self._releases: dict[str, asyncio.Task[None]] = {}

    def start(self, bursts: Iterable[Burst]) -> tuple[Burst, ...]:
        """Note the bursts as under way, before anything is awaited, so that the next pass counts their places."""
        started = tuple(bursts)
        now = self._wall()
        for burst in started:
            if (release := self._releases.pop(burst.pod.uid, None)) is not None:
                # The release belongs to the previous offer, which the watch has shown on the pod.
                release.cancel()
            self._callbacks.start(burst.pod.uid, Offer(burst.provider, now))
        return started

    async def burst(
        self, bursts: tuple[Burst, ...], *, wanted: Callable[[], bool], answered: Callable[[], None]
    ) -> Written:
        """Send the pods to standbys while `wanted` returns true: the pool may be deleted while its pods queue here.

        `answered` is called after each successful patch. Raises NotLeadingError as soon as leadership is in doubt.
        """
        return joined(Written, await asyncio.gather(*(self._burst(burst, wanted, answered) for burst in bursts)))

    async def fix_labels(self, label_fixes: Iterable[LabelFix]) -> tuple[LabelFix, ...]:
        """Correct labels, a few at a time, except on pods whose fix is under way or waits for another attempt.

        Return the fixes that are written.
        """
        new = [fix for fix in label_fixes if fix.pod.uid not in self._fixing]
        self._fixing.update(fix.pod.uid for fix in new)
        written = await asyncio.gather(*(self._fix_label(fix) for fix in new))
        return tuple(fix for fix, done in zip(new, written, strict=True) if done)

    async def settle(self) -> None:
        """Cancel the waits for retries. Call this at the end."""
        await self._tasks.cancel()

    async def _burst(self, burst: Burst, wanted: Callable[[], bool], answered: Callable[[], None]) -> Written:
        pod = burst.pod
        try:
            async with self._slots:
                if not wanted():
                    self._backoffs.reset(pod.uid)
                    self._callbacks.failed(pod.uid)
                    return Written()
                version = await self._patch(pod, burst_patch(burst, self._wall()))
        except (NotFound, Conflict) as error:
            # Until the watch shows this, the next pass would see the pod wait and send it again.
            self._release_later(pod.uid, error)
            return Written(gone=(burst,))
        except Unavailable as error:
            self._release_later(pod.uid, error, at_least=DOUBT_SECONDS)
            self._callbacks.doubted(pod.uid)
            return Written(failed=((burst, error),))
        except ApiError as error:
            if not refuses_patch(error):
                self._release_later(pod.uid, error)
                return Written(failed=((burst, error),))
            self._refused(burst, error)
            return Written(refused=((burst, error),))
        self._backoffs.reset(pod.uid)
        self._callbacks.written(pod.uid, version)
        answered()
        return Written(done=(burst,))

    def _refused(self, burst: Burst, error: ApiError) -> None:
        """Tell a refusal. Let the next pass send the pod to another provider, unless the same patch may pass soon."""
        uid, now = burst.pod.uid, self._wall()
        times = self._callbacks.refusals(uid, burst.provider, now) + 1
        seconds = jittered(RETRY_BASE_SECONDS, RETRY_CAP_SECONDS, times - 1, self._rng)
        self._callbacks.refused(uid, RefusedOffer(burst.provider, now, now + seconds, with_advice(error), times))
        if times > 1:
            self._callbacks.failed(uid)
        else:
            self._releases[uid] = self._tasks.spawn(self._release(uid, seconds))

    async def _fix_label(self, fix: LabelFix) -> bool:
        """Correct a label; say whether it is written."""
        async with self._fix_slots:
            try:
                await self._patch(fix.pod, label_patch(fix))
            except ApiError as error:
                # Only people read the label, so the pool's conditions do not show that it is late.
                _logger.info("label of %s/%s not corrected: %s", fix.pod.namespace, fix.pod.name, error)
                self._release_later(fix.pod.uid, error)
                return False
            self._backoffs.reset(fix.pod.uid)
            self._fixing.discard(fix.pod.uid)
            return True

    async def _patch(self, pod: Pod, body: dict[str, Any]) -> int:
        path = paths.pod(pod.namespace, pod.name)
        answer = await self._writes.merge_patch(path, body, metadata_only=True)
        return int(decoded(_STORED, answer, request=f"PATCH {path}").metadata.resource_version)

    def _release_later(self, uid: str, error: ApiError, *, at_least: float = 0.0) -> None:
        """Let passes decide on the pod again after a delay. Until then its place stays taken."""
        delay = self._backoffs.next(uid, error, at_least=at_least)
        self._releases[uid] = self._tasks.spawn(self._release(uid, delay))

    async def _release(self, uid: str, delay: float) -> None:
        await self._sleep(delay)
        self._releases.pop(uid, None)
        self._fixing.discard(uid)
        self._callbacks.failed(uid)
