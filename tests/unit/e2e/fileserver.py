"""A file server on loopback that stands in for the places where projects publish their releases."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from e2e.binaries import target
from e2e.download import Sources, releases

# There are releases for Linux only, whatever this machine is.
TARGET = f"linux-{target().partition('-')[2]}"


class FileServer:
    """Serves files from memory; a path can be told to break off after so many bytes."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.breaks_after: dict[str, int] = {}
        self.asked: list[str] = []
        files = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                files.asked.append(self.path)
                content = files.files.get(self.path)
                if content is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: files.breaks_after.get(self.path)])

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the name is given
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

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
