"""The metrics of the demo's servers: each pod answers as a vLLM does, and a real Prometheus scrapes all of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from e2e import binaries
from e2e.closing import Closing
from e2e.cluster import REPOSITORY
from e2e.exporter import Exporter
from e2e.prometheus import Prometheus, Target

RECORDED: Final = REPOSITORY / "tests" / "exporters" / "vllm-0.32.0.txt"
"""What a vLLM with two engines answered."""
SERVER: Final = "vllm"
_WAITING: Final = re.compile(r'^(vllm:num_requests_waiting(?:_by_reason)?\{engine="(\d)"(.*)\}) \S+$', re.MULTILINE)


class Source(Closing):
    """The exporter of all servers, and the Prometheus that scrapes it."""

    def __init__(self, folder: Path) -> None:
        """Start both; `folder` is for Prometheus' files."""
        self._text = RECORDED.read_text(encoding="utf-8")
        self._exporter = Exporter()
        try:
            self.queue(0)
            self._prometheus = Prometheus(folder, self._exporter)
        except BaseException:
            self._exporter.close()
            raise

    @property
    def url(self) -> str:
        """The address of Prometheus."""
        return self._prometheus.url

    def queue(self, length: int) -> None:
        """From now on so many requests wait in front of each server."""
        self._exporter.serve(SERVER, with_queue(self._text, length))

    def scrape(self, namespace: str, pods: Iterable[str]) -> None:
        """Let Prometheus scrape these pods and no others, with the labels that a PodMonitor gives to their series."""
        labels = ({"namespace": namespace, "pod": pod} for pod in pods)
        self._prometheus.watch(Target(SERVER, each) for each in labels)

    def close(self) -> None:
        """End both."""
        self._prometheus.close()
        self._exporter.close()


def is_there() -> bool:
    """Whether this machine has a Prometheus."""
    return binaries.find("prometheus") is not None


def with_queue(text: str, length: int) -> str:
    """Return the text of a server with so many waiting requests, all of them in front of its first engine."""

    def waiting(sample: re.Match[str]) -> str:
        counts = sample[2] == "0" and "deferred" not in sample[3]
        return f"{sample[1]} {length if counts else 0}.0"

    return _WAITING.sub(waiting, text)
