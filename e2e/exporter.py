"""An HTTP server that plays exporters: each target serves text that a test sets, or misbehaves as a test says.

with Exporter() as exporter:
    exporter.serve("s-0", "vllm:num_requests_waiting 3\n")
    exporter.url("s-0")                # what a Prometheus scrapes
"""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from e2e.closing import Closing

_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"


class Exporter(Closing):
    """All targets of one test, on one port of loopback."""

    def __init__(self) -> None:
        """Serve at once; a target that has no text yet answers 503, so that its scrape fails."""
        self._texts: dict[str, str] = {}
        self._lock = threading.Lock()
        self._scrapes: dict[str, int] = {}
        exporter = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                target = self.path.removeprefix("/").partition("/")[0]
                text = exporter._text(target)
                self.send_response(503 if text is None else 200)
                self.send_header("Content-Type", _TEXT)
                self.end_headers()
                self.wfile.write((text or "").encode())

            def log_message(self, *_: object) -> None:
                """Say nothing: a test's output has other things to show."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """Its host and port."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    def serve(self, target: str, text: str) -> None:
        """From now on the target serves this text."""
        with self._lock:
            self._texts[target] = text

    def fail(self, target: str) -> None:
        """From now on each scrape of the target fails."""
        with self._lock:
            self._texts.pop(target, None)

    def scrapes(self, target: str) -> int:
        """How often the target was scraped."""
        with self._lock:
            return self._scrapes.get(target, 0)

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _text(self, target: str) -> str | None:
        with self._lock:
            self._scrapes[target] = self._scrapes.get(target, 0) + 1
            return self._texts.get(target)
