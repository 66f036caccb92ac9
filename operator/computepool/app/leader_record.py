"""Writes the name of the leader where the API server's fence reads it: into an annotation of a ServiceAccount.

Why not the Lease, which has the name already? The API server reads the parameters of an admission policy from a watch
of its own. Some built-in kinds, such as Lease, it watches only for policies. When no binding asks for such a kind any
more, it stops this watch for good (kubernetes/kubernetes#130887). After the chart was uninstalled and installed again,
the fence would compare each writer with the holder of that earlier time, and refuse the writes of each later leader.
The API server always watches ServiceAccounts, to authenticate them. This ServiceAccount has no rights, and nothing uses
it.

The order makes it safe: read the record, ask this process's own fence, and write over exactly the version that was
read. If another process takes the Lease after the question, it changes the record too, and the write is refused. So a
process that slept never overwrites the name of a later leader. A process that starts again in its pod has the name of
the process before it, and may find this name in the record. It writes the time, so the record changes in any case.
"""

import asyncio
import logging
from typing import Final

import msgspec

from computepool.act.write_access import WriteAccess
from computepool.kube import paths
from computepool.kube.errors import ApiError, Conflict, NotFound, Unauthorized, decoded
from computepool.kube.retry import Backoff
from computepool.kube.wire import AnnotatedObject
from computepool.model.text import rfc3339
from computepool.model.well_known_keys import LEADER_ANNOTATION, LEADER_SINCE_ANNOTATION
from computepool.report.logs import log

CHECK_SECONDS: Final = 5.0
"""Time between two looks at the record, in case somebody has changed it."""
RETRY_SECONDS: Final = 0.1
"""Delay before the first retry. Later delays double, up to CHECK_SECONDS."""
_ACCOUNT = msgspec.json.Decoder(AnnotatedObject)
_logger = logging.getLogger("computepool")


class LeaderRecord:
    """Keeps this process's name in the record while this process leads."""

    def __init__(self, access: WriteAccess, *, namespace: str, lease: str) -> None:
        """The record is the ServiceAccount `<lease>-leader`, which the chart makes together with the fence."""
        self._access = access
        self._path = paths.service_account(namespace, f"{lease}-leader")
        self._backoff = Backoff(base=RETRY_SECONDS, cap=CHECK_SECONDS, rng=access.runtime.rng)
        self._refusal = ""
        self._error = ""
        """The error of the last attempt, which may succeed later."""
        self.settled = asyncio.Event()
        """Set once the record names this process, or once it is known that this process can't write it."""

    def trouble(self) -> str:
        """Return why this leader still waits for the record; empty if it does not, or has no answer yet."""
        if self.settled.is_set() or not self._error:
            return ""
        return f"this leader does nothing, because its name is not recorded yet: {self._error}"

    async def run(self) -> None:
        """Keep the record until cancelled. Raises NotLeadingError when leadership is over."""
        while True:
            delay = await self._keep()
            await self._access.runtime.sleep(delay)

    async def _keep(self) -> float:
        """Compare the record once, and write it if necessary; return the seconds until the next comparison."""
        refusal = ""
        try:
            await self._write()
        except NotFound:
            # Without the chart's guard there is no record, and no fence that reads it.
            pass
        except ApiError as error:
            if error.retryable or isinstance(error, Conflict | Unauthorized):
                self._error = str(error)
                log(_logger, logging.WARNING, "record of the leader not checked, trying again", error=self._error)
                return self._backoff.next(error)
            # RBAC, an admission policy or a webhook refuses. The leader acts all the same: the fence stops it only if
            # the record names another process, and a new record names nobody.
            refusal = str(error)
        self._backoff.reset()
        self._note(refusal)
        self.settled.set()
        return CHECK_SECONDS

    async def _write(self) -> None:
        answer = await self._access.client.get(self._path)
        meta = decoded(_ACCOUNT, answer, request=f"GET {self._path}").metadata
        if self.settled.is_set() and (meta.annotations or {}).get(LEADER_ANNOTATION) == self._access.identity:
            return
        record = {
            LEADER_ANNOTATION: self._access.identity,
            LEADER_SINCE_ANNOTATION: rfc3339(self._access.runtime.wall(), "microseconds"),
        }
        body = {"metadata": {"resourceVersion": meta.resource_version, "annotations": record}}
        await self._access.writes.merge_patch(self._path, body, metadata_only=True)
        log(_logger, logging.INFO, "leader recorded for the API server's fence", identity=self._access.identity)

    def _note(self, refusal: str) -> None:
        """Log a refusal when it begins: the fence may now refuse all writes of this process."""
        if refusal and not self._refusal:
            log(
                _logger,
                logging.ERROR,
                "leader can't be recorded, so the API server may refuse its writes: let the operator's ServiceAccount "
                "get and patch the record, in RBAC and in all admission policies and webhooks",
                record=self._path,
                error=refusal,
            )
        self._refusal = refusal
