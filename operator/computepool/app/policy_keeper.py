"""Keeps the admission policy's Bindings equal to the pools, in the background."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from computepool.act.policy_bindings import Bindings
from computepool.act.tasks import wait_at_most
from computepool.kube.denial import with_advice
from computepool.kube.errors import ApiError
from computepool.observe.store import Store
from computepool.report.logs import log

REFRESH_SECONDS: Final = 60.0
RETRY_SECONDS: Final = 5.0
_logger = logging.getLogger("computepool")


class PolicyKeeper:
    """Syncs the Bindings when pools change, and once a minute, because the chart may add or remove the policy."""

    def __init__(
        self,
        bindings: Bindings,
        store: Store,
        *,
        on_change: Callable[[], None],
        refresh_seconds: float = REFRESH_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        """`on_change` is called when `missing` or `unserved` changes."""
        self._bindings = bindings
        self._store = store
        self._on_change = on_change
        self._refresh_seconds = refresh_seconds
        self._retry_seconds = retry_seconds
        self._wake = asyncio.Event()
        self.missing = False
        self.unserved = False
        """Whether the policy is missing because the API server does not serve its kind."""

    def wake(self) -> None:
        """Sync soon: pools have changed."""
        self._wake.set()

    async def run(self) -> None:
        """Sync until cancelled. Raises NotLeadingError when leadership is over."""
        while True:
            self._wake.clear()
            wait = self._refresh_seconds
            try:
                self._note(missing=not await self._bindings.sync(self._store.pools))
            except ApiError as error:
                log(_logger, logging.WARNING, "bindings not synced, trying again", error=with_advice(error))
                wait = self._retry_seconds
            await wait_at_most(self._wake, wait)

    def _note(self, *, missing: bool) -> None:
        unserved = missing and not self._bindings.served
        if (missing, unserved) != (self.missing, self.unserved):
            self.missing, self.unserved = missing, unserved
            self._on_change()
