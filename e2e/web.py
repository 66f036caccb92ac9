"""HTTP requests that end in time: a host that is out of reach, silent or too slow costs seconds."""

from __future__ import annotations

import hashlib
import http.client
import os
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent import futures
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import IO

from e2e.errors import DownloadError, HostError

CHUNK = 1 << 20
# No release is a quarter of this. A server that sends without end must not fill the disk.
LARGEST_FILE = 1 << 30
LARGEST_TEXT = 4 << 20


@dataclass(frozen=True)
class Limits:
    """The patience with a host.

    `seconds` may pass until the host answers, and without a byte of the answer's body. Over as many seconds, the body
    must come at `bytes_per_second`.
    """

    seconds: float
    bytes_per_second: int


# Ten seconds are enough to ask a second name server. At a lower rate all downloads take more than half an hour, and a
# build takes less.
HURRIED = Limits(10.0, 256 << 10)
# For downloads that no build can replace.
PATIENT = Limits(30.0, 0)


def proxies_of(env: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The proxies in variables such as HTTPS_PROXY and https_proxy, by scheme: {"https": url}. Lower case wins."""
    variables = [name for name in sorted(env) if name.lower().endswith("_proxy") and env[name]]
    return {name.lower().removesuffix("_proxy"): env[name] for name in variables}


def host_of(url: str) -> str:
    """The host of a URL, with its port if the URL names a port. A URL without a host stands for itself."""
    return (urllib.parse.urlsplit(url).netloc or url).rpartition("@")[2]


class Web:
    """Gets texts and files. It holds no connection."""

    def __init__(self, limits: Limits = HURRIED, proxies: Mapping[str, str] | None = None) -> None:
        """Use these limits and proxies, by default the proxies of this process's environment."""
        self._limits = limits
        self._proxies = proxies_of() if proxies is None else proxies

    def out_of_reach(self, urls: Iterable[str]) -> dict[str, str]:
        """Ask each host once, all at the same time, and return the hosts that give no answer, each with the reason.

        Any answer will do. An error such as 404 says something about one file, not about the host.
        """
        first = {host_of(url): url for url in reversed(list(urls))}
        requests = {host: self._request(url, "HEAD") for host, url in first.items()}
        lost = {}
        for host, request in requests.items():
            try:
                request.answer().close()
            except HostError as error:
                lost[host] = str(error)
            except DownloadError:
                continue
        return lost

    def text(self, url: str) -> str:
        """What the URL answers. Raises DownloadError, and HostError if the host is the reason."""
        with self._request(url).answer() as answer:
            return b"".join(self._chunks(url, answer, LARGEST_TEXT)).decode(errors="replace")

    def save(self, url: str, path: Path, told: Callable[[int, int], None]) -> str:
        """Write what the URL answers to a file and return its SHA-256.

        `told` gets the bytes so far and the bytes in all, 0 where the server does not say. Raises DownloadError, and
        HostError if the host is the reason; what was written until then stays.
        """
        digest, size = hashlib.sha256(), 0
        with self._request(url).answer() as answer:
            said = answer.headers.get("Content-Length") or ""
            length = int(said) if said.isdecimal() else 0
            try:
                with path.open("wb") as file:
                    for chunk in self._chunks(url, answer, LARGEST_FILE):
                        file.write(chunk)
                        digest.update(chunk)
                        size += len(chunk)
                        told(size, length)
            except OSError as problem:
                raise DownloadError(f"{path.parent} can't be written: {problem.strerror}") from problem
        if length and size != length:
            raise DownloadError(f"{url} ended after {size} of {length} bytes")
        return digest.hexdigest()

    def _request(self, url: str, method: str = "GET") -> _Request:
        return _Request(url, method, self._limits, self._proxies)

    def _chunks(self, url: str, answer: HTTPResponse, largest: int) -> Iterator[bytes]:
        """The body in pieces. Raises as `save` does."""
        sender, size, pace = host_of(answer.url), 0, _Pace(self._limits)
        while True:
            try:
                # read1, because read would wait for the whole chunk, however slowly it comes.
                chunk = answer.read1(CHUNK)
            except TimeoutError as problem:
                raise HostError(host_of(url), f"{sender} sent nothing for {self._limits.seconds:g} s") from problem
            except (OSError, http.client.HTTPException) as problem:
                raise DownloadError(f"{url} broke off: {problem}") from problem
            if not chunk:
                return
            size += len(chunk)
            if size > largest:
                raise DownloadError(f"{url} has more than {largest >> 20} MiB")
            if not pace.keeps(len(chunk)):
                floor = self._limits.bytes_per_second >> 10
                raise HostError(host_of(url), f"{sender} sends less than {floor} KiB/s")
            yield chunk


class _Pace:
    """Whether bytes come fast enough, judged over periods of `limits.seconds`."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._began = time.monotonic()
        self._size = 0

    def keeps(self, size: int) -> bool:
        """Count these bytes, and say whether the last full period had enough."""
        self._size += size
        elapsed = time.monotonic() - self._began
        if elapsed < self._limits.seconds:
            return True
        enough = self._size >= self._limits.bytes_per_second * elapsed
        self._began, self._size = time.monotonic(), 0
        return enough


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects and remembers the last address, but goes from HTTPS to nothing less."""

    def __init__(self, url: str) -> None:
        """`url` is the first address, and later the last."""
        self.url = url

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """The request that follows. Raises DownloadError where it would leave HTTPS."""
        if req.type == "https" and not newurl.lower().startswith("https:"):
            raise DownloadError(f"{req.full_url} redirects to {newurl}, which is not HTTPS")
        self.url = newurl
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Request:
    """A request on its way, in a thread of its own.

    Only a thread can be left behind at the deadline: the resolver takes no timeout, a socket's timeout begins anew for
    each address, and headers may drip.
    """

    def __init__(self, url: str, method: str, limits: Limits, proxies: Mapping[str, str]) -> None:
        self._url = url
        self._seconds = limits.seconds
        self._deadline = time.monotonic() + limits.seconds
        self._proxies = proxies
        self._redirects = Redirects(url)
        self._answer: futures.Future[HTTPResponse] = futures.Future()
        # A daemon, so that a request that hangs keeps no process alive.
        threading.Thread(target=self._open, args=(method,), daemon=True).start()

    def answer(self) -> HTTPResponse:
        """The answer of status 200, whose body is still to be read. Raises DownloadError or HostError."""
        futures.wait([self._answer], max(0.0, self._deadline - time.monotonic()))
        if self._answer.cancel():
            raise self._lost(f"no answer within {self._seconds:g} s")
        return self._answer.result()

    def _open(self, method: str) -> None:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler(dict(self._proxies)), self._redirects)
        try:
            answer = opener.open(urllib.request.Request(self._url, method=method), timeout=self._seconds)
        except Exception as problem:  # noqa: BLE001 - the waiting thread raises it
            error = self._error(problem)
            if self._answer.set_running_or_notify_cancel():
                self._answer.set_exception(error)
        else:
            if self._answer.set_running_or_notify_cancel():
                self._answer.set_result(answer)
            else:
                answer.close()

    def _error(self, problem: Exception) -> Exception:
        """Return the error to raise, without the problem itself: its traceback would keep the connection open."""
        match problem:
            case urllib.error.HTTPError():
                problem.close()
                return DownloadError(f"{self._url}: {problem}")
            case urllib.error.URLError():
                return self._lost(self._words(problem.reason))
            case OSError() | http.client.HTTPException() | ValueError():
                return self._lost(self._words(problem))
            case DownloadError():
                return DownloadError(str(problem))
        return problem

    def _words(self, problem: object) -> str:
        if isinstance(problem, TimeoutError):
            return f"no answer within {self._seconds:g} s"
        return (isinstance(problem, OSError) and problem.strerror) or str(problem) or type(problem).__name__

    def _lost(self, reason: str) -> HostError:
        url = self._redirects.url
        proxy = self._proxies.get(urllib.parse.urlsplit(url).scheme)
        # As ProxyHandler does: it heeds NO_PROXY.
        if proxy and urllib.request.proxy_bypass(host_of(url)):
            proxy = None
        through = f" through the proxy {host_of(proxy)}" if proxy else ""
        return HostError(host_of(self._url), f"{host_of(url)} can't be reached{through}: {reason}")
