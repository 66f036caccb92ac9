"""A real Prometheus on loopback that scrapes what a test tells it to.

with Exporter() as exporter, Prometheus(folder, exporter) as prometheus:
    prometheus.watch([Target("s-0", {"namespace": "ml", "pod": "s-0"})])
    prometheus.url

It may be any Prometheus from `versions.OLDEST` on: the flags and the configuration here are those of that version too.
So are the queries that the operator makes: names in quotes inside braces, which only Prometheus 3 reads, are written
only for metrics and labels that can't be written otherwise.
"""

from __future__ import annotations

import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from e2e import binaries, ports
from e2e.child import ChildError, ChildProcess
from e2e.errors import WaitTimeoutError
from e2e.exporter import Exporter

T = TypeVar("T")

READY_SECONDS = 30.0
POLL_SECONDS = 0.02
HTTP_SECONDS = 5.0
SCRAPE_SECONDS = 1


@dataclass(frozen=True)
class Target:
    """One thing that is scraped: its name at the exporter, and the labels that the scrape gives to its series."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    honor_labels: bool = False
    address: str = ""
    """Host and port of another server that has /metrics; empty: the exporter."""


class Prometheus(ChildProcess):
    """A server with its own folder, which may be ended, killed, paused and started again."""

    def __init__(self, folder: Path, exporter: Exporter, *, flags: Sequence[str] = (), port: int = 0) -> None:
        """Start it without targets and wait until it is ready. `flags` are further flags of the server."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._exporter = exporter
        self._port = port or ports.choose(1, set())[0]
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._write([])
        with (folder / "prometheus.log").open("ab") as log:
            super().__init__(
                [
                    str(binaries.find_all(names=["prometheus"])["prometheus"]),
                    f"--config.file={self._config}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self._port}",
                    "--web.enable-lifecycle",
                    *flags,
                ],
                {},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._wait_ready()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def folder(self) -> Path:
        """Its configuration, log and data."""
        return self._folder

    @property
    def port(self) -> int:
        """Its port; a server that takes its place can have the same."""
        return self._port

    def watch(self, targets: Iterable[Target]) -> None:
        """Scrape these targets from now on, each every second."""
        self._write(list(targets))
        self._get("/-/reload", method="POST")

    def query(self, query: str) -> list[dict[str, Any]]:
        """The series of an instant query."""
        body = self._get(f"/api/v1/query?{urllib.parse.urlencode({'query': query})}")
        return list(msgspec.json.decode(body)["data"]["result"])

    def wait_for(self, query: str, count: int, timeout: float = 30.0) -> list[dict[str, Any]]:
        """Wait until the answer to a query has so many series, and return them."""
        deadline = time.monotonic() + timeout
        while len(found := self.query(query)) != count:
            if time.monotonic() > deadline:
                raise WaitTimeoutError(f"waited {timeout:g} s for {count} series of {query}; last seen: {found}")
            time.sleep(POLL_SECONDS)
        return found

    @property
    def _config(self) -> Path:
        return self._folder / "prometheus.yaml"

    def _write(self, targets: Iterable[Target]) -> None:
        jobs = [
            {
                "job_name": f"{target.name}-{index}",
                "metrics_path": "/metrics" if target.address else f"/{target.name}/metrics",
                "honor_labels": target.honor_labels,
                "static_configs": [
                    {"targets": [target.address or self._exporter.address], "labels": dict(target.labels)}
                ],
            }
            for index, target in enumerate(targets)
        ]
        times = {"scrape_interval": f"{SCRAPE_SECONDS}s", "scrape_timeout": f"{SCRAPE_SECONDS}s"}
        self._config.write_text(yaml.safe_dump({"global": times, "scrape_configs": jobs}))

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not self._is_ready():
            if not self.running or time.monotonic() > deadline:
                log = (self._folder / "prometheus.log").read_text(errors="replace")
                raise ChildError(f"Prometheus is not ready. The end of its log:\n{log[-2000:]}")
            time.sleep(POLL_SECONDS)

    def _is_ready(self) -> bool:
        try:
            self._get("/-/ready")
        except OSError:
            return False
        return True

    def _get(self, path: str, method: str = "GET") -> bytes:
        request = urllib.request.Request(self.url + path, method=method)
        with self._opener.open(request, timeout=HTTP_SECONDS) as answer:
            return bytes(answer.read())


def until_complete(
    read: Callable[[], Sequence[T]], count: int, is_whole: Callable[[T], bool], timeout: float = 30.0
) -> Sequence[T]:
    """Read until there are so many series, and all of them whole, or the time is over; return the last reading.

    On a busy machine a scrape may end too late, and its series are missing until the next. Between the two queries for
    ages and for values, that leaves series without an age.
    """
    deadline = time.monotonic() + timeout
    while True:
        found = read()
        if (len(found) == count and all(map(is_whole, found))) or time.monotonic() >= deadline:
            return found
        time.sleep(POLL_SECONDS)
