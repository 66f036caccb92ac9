"""A file server on loopback that stands in for the places where projects publish their releases."""

from __future__ import annotations

import hashlib
import io
import json
import socket
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from e2e.binaries import target
from e2e.releases import Sources, releases

# There are releases for Linux only, whatever this machine is.
TARGET = f"linux-{target().partition('-')[2]}"


class FileServer:
    """Serves files from memory, and is told how to fail: for a path, or altogether."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.breaks_after: dict[str, int] = {}
        """Closes the connection after so many bytes."""
        self.stalls_after: dict[str, int] = {}
        """Sends nothing more after so many bytes, and keeps the connection."""
        self.drips: set[str] = set()
        """Sends a byte now and then."""
        self.drips_headers = False
        self.silent = False
        """Accepts connections and never answers."""
        self.first: threading.Barrier | None = None
        """Waits for others before the first answer."""
        self.stalled = threading.Event()
        self.asked: list[str] = []
        """The paths of GET requests."""
        self.connections = 0
        self.over = threading.Event()
        files = self

        class Server(ThreadingHTTPServer):
            def verify_request(self, *_request: object) -> bool:
                files.connections += 1
                return True

        class Handler(_Handler):
            server_of_files = files

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @property
    def sources(self) -> Sources:
        return Sources(
            kubernetes=f"{self.url}/k8s",
            etcd=f"{self.url}/etcd",
            kwok=f"{self.url}/kwok",
            kwok_listing=f"{self.url}/kwok-tags",
            helm=f"{self.url}/helm",
            prometheus=f"{self.url}/prometheus",
        )

    def path_of(self, name: str) -> str:
        return releases(self.sources, TARGET)[name].url.removeprefix(self.url)

    def checksum_path_of(self, name: str) -> str:
        return releases(self.sources, TARGET)[name].checksum_url.removeprefix(self.url)

    def publish(self, name: str, content: bytes) -> None:
        """Put a binary up the way its project does, with its checksum."""
        member = releases(self.sources, TARGET)[name].member
        file = content if member is None else archive(member, content)
        path = self.path_of(name)
        self.files[path] = file
        self.files[self.checksum_path_of(name)] = checksum_file(name, path.rpartition("/")[2], sha256(file))


class _Handler(BaseHTTPRequestHandler):
    server_of_files: FileServer

    def do_GET(self) -> None:
        self.server_of_files.asked.append(self.path)
        if content := self._begin():
            self._send(content)

    def do_HEAD(self) -> None:
        self._begin()

    def do_CONNECT(self) -> None:
        self.send_error(403)

    def _begin(self) -> bytes | None:
        """Send status and headers, and return the content that is to follow."""
        files = self.server_of_files
        if files.first:
            files.first.wait(30)
        if files.silent:
            files.over.wait()
            return None
        if files.drips_headers:
            self._drip(b"HTTP/1.1 200 OK\r\nX-Long: ")
            return None
        if target := files.redirects.get(self.path):
            self.send_response(302)
            self.send_header("Location", target)
            self.end_headers()
            return None
        content = files.files.get(self.path)
        if content is None:
            self.send_error(404)
            return None
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        return content

    def _send(self, content: bytes) -> None:
        files = self.server_of_files
        if self.path in files.drips:
            self._drip(b"")
        elif (sent := files.stalls_after.get(self.path)) is not None:
            self.wfile.write(content[:sent])
            files.stalled.set()
            files.over.wait()
        else:
            self.wfile.write(content[: files.breaks_after.get(self.path)])

    def _drip(self, begin: bytes) -> None:
        try:
            self.wfile.write(begin)
            while not self.server_of_files.over.wait(0.02):
                self.wfile.write(b"x")
        except ConnectionError:
            # The client has given up.
            return

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the name is given
        pass


def variables(sources: Sources) -> dict[str, str]:
    """The environment that names these sources."""
    return {f"COMPUTEPOOL_E2E_{field.name.upper()}_URL": getattr(sources, field.name) for field in fields(sources)}


@contextmanager
def nowhere() -> Iterator[Sources]:
    """Sources at a port of loopback that refuses connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        yield Sources(**{field.name: f"{url}/{field.name}" for field in fields(Sources)})


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def archive(member: str, content: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for path, data in (("README.md", b"read me"), (member, content)):
            info = tarfile.TarInfo(path)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return packed.getvalue()


def checksum_file(name: str, file: str, checksum: str) -> bytes:
    other = sha256(b"another file of the same release")
    match name:
        case "kwok":
            listed = [{"name": f"{file}.yaml", "digest": None}, {"name": file, "digest": f"sha256:{checksum}"}]
            return json.dumps({"assets": listed}).encode()
        case "etcd" | "helm" | "prometheus":
            return f"{other}  other-{file}\n{checksum}  {file}\n".encode()
        case _:
            return checksum.encode()
