"""A fake autoscaler: makes nodes of a provider once pods may use them."""

from __future__ import annotations

import threading
import time
from math import ceil
from typing import Any, Self

from e2e import objects
from e2e.site import Site

Json = dict[str, Any]


class Autoscaler:
    """Adds nodes of one provider for the site's unschedulable pods that tolerate it, each after a delay.

    `with Autoscaler(site, "crusoe", delay=2, max_nodes=2): ...`. With `max_nodes=0` it is a provider without capacity.
    """

    def __init__(self, site: Site, provider: str, *, delay: float, max_nodes: int, gpus: int = 8) -> None:
        """`delay` is in seconds, from the moment that a pod needs a node until the node is Ready."""
        self.made: list[str] = []
        self._site = site
        self._provider = provider
        self._delay = delay
        self._max_nodes = max_nodes
        self._gpus = gpus
        self._due: list[float] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"autoscaler-{provider}", daemon=True)

    def __enter__(self) -> Self:
        """Begin to watch."""
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Make no more nodes; those that are there stay until the site closes."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            # A short watch, so that a node is made when it is due and the end is noticed.
            for pods in self._site.api.states("pods", self._site.namespace, timeout=self._patience()):
                if self._over.is_set():
                    return
                self._order(pods)
                self._deliver()

    def _patience(self) -> float:
        return min([0.5, *(max(0.0, due - time.monotonic()) for due in self._due)])

    def _order(self, pods: list[Json]) -> None:
        waiting = [pod for pod in pods if objects.is_unschedulable(pod) and self._is_tolerated(pod)]
        wanted = ceil(sum(objects.gpus_of(pod) for pod in waiting) / self._gpus)
        room = self._max_nodes - len(self.made) - len(self._due)
        for _ in range(min(wanted - len(self._due), room)):
            self._due.append(time.monotonic() + self._delay)

    def _deliver(self) -> None:
        now = time.monotonic()
        ready = [due for due in self._due if due <= now]
        self._due = [due for due in self._due if due > now]
        if ready:
            self.made += self._site.add_nodes(self._provider, len(ready), gpus=self._gpus, taint=True)

    def _is_tolerated(self, pod: Json) -> bool:
        return objects.provider_toleration(self._provider) in pod["spec"].get("tolerations", [])
