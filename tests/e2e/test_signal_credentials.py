"""No output of the operator repeats a credential of the source of metrics, whatever a server sends back; redirects get
none; credentials that are rotated are read again.
"""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, quote_plus

import pytest
import yaml

from e2e import chart, command, kubeconfig, objects, pools
from e2e.cluster import Cluster
from e2e.operator import OperatorProcess
from e2e.site import Site
from tests.fakes.prometheus import vector
from tests.fakes.tls import Certificates, certificates

TOKEN, KEY, PASSWORD, ROTATED = "tok+en/0123456789==", 'k"ey<&>\\0123', "pass word:'%41", "rotated+/token=="
MODES = {
    "good": "",
    "unauthorized": "the server refuses the credentials (401)",
    "error": "the server answers 500",
    "bad": "the server can't run the query (400)",
    "garbage": "this is not an answer of Prometheus",
    "partial": "the answer may be partial",
    "redirect": "the server redirects (307), which is not followed",
    "broken": "does not speak HTTP",
}
"""By metric of a query: what the pool's status says of the answer."""


@dataclass
class Mirror:
    """A server that sends back what it was sent, in each way that its queries ask for."""

    tls: ssl.SSLContext | None = None
    seen: list[dict[str, str]] = field(default_factory=list)
    """The headers of each request."""
    elsewhere: list[str] = field(default_factory=list)
    """What has come to the address that redirects name."""
    url: str = ""
    away: str = ""

    def reply(self, query: str, headers: dict[str, str]) -> tuple[int, bytes]:
        """The status and the body of an answer."""
        said = " ".join(form for value in headers.values() for form in forms(value))
        said += " ".join(form for secret in (TOKEN, KEY, PASSWORD, ROTATED) for form in forms(secret))
        match next((mode for mode in MODES if mode in query), "good"):
            case "unauthorized":
                return 401, said.encode()
            case "error":
                return 500, said.encode()
            case "bad":
                return 400, said.encode()
            case "garbage":
                return 200, f"<html>{said}".encode()
            case "partial":
                warned = {"status": "success", "warnings": [said], "data": {"resultType": "vector", "result": []}}
                return 200, json.dumps(warned).encode()
            case "redirect":
                return 307, said.encode()
            case _:
                return 200, vector(({"said": said}, "1"))


def forms(secret: str) -> list[str]:
    """A credential as it is, and as others write it."""
    raw = secret.encode()
    encoded = [base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()]
    return [secret, *encoded, quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1], repr(secret)[1:-1]]


@contextmanager
def mirror(tls: ssl.SSLContext | None) -> Iterator[Mirror]:
    """The server, and the other one to which it redirects."""
    own = Mirror(tls)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())["query"][0]
            headers = dict(self.headers)
            own.seen.append(headers)
            if "broken" in query:
                # The HTTP library repeats the beginning of such a line.
                self.wfile.write(b"x" * 80 + " ".join(headers.values()).encode() * 100 + b"\r\n\r\n")
                return
            status, body = own.reply(query, headers)
            self.send_response(status, " ".join(headers.values()))
            if status == 307:
                self.send_header("Location", f"{own.away}/api/v1/query?token={quote(TOKEN)}")
            self.send_header("X-Echo", headers.get("Authorization", ""))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Elsewhere(Handler):
        def do_POST(self) -> None:
            own.elsewhere.append(str(self.headers))

        def do_GET(self) -> None:
            self.do_POST()

    with _serving(Handler, tls) as port, _serving(Elsewhere, None) as other:
        own.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{port}"
        own.away = f"http://localhost:{other}"
        yield own


@contextmanager
def _serving(handler: type[BaseHTTPRequestHandler], tls: ssl.SSLContext | None) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Scene:
    """An operator that asks the mirror, and all that people can read of it."""

    site: Site
    operator: OperatorProcess
    mirror: Mirror
    folder: Path
    config: Path
    access: Path

    def wait_messages(self, **says: str) -> None:
        """Wait until the pool's status has these messages of its signals; an empty text: it is known."""

        def told(status: dict[str, Any]) -> bool:
            found = {one["key"].removeprefix("saturation/"): one for one in status.get("signals", [])}
            return says.keys() <= found.keys() and all(
                text in found[name].get("message", "") if text else found[name]["verdict"] == "Off"
                for name, text in says.items()
            )

        pools.wait_status(self.site.api, self.site.namespace, told, str(says), timeout=60)

    def outputs(self) -> Iterator[tuple[str, str]]:
        """Each thing that can be read, by name."""
        yield "log", self.operator.log()
        for path in ("/metrics", "/healthz", "/readyz"):
            yield path, self.operator.get(path)
        api = self.site.api
        yield "pool", json.dumps(api.get(pools.POOLS, self.site.namespace), ensure_ascii=False)
        yield "events", json.dumps(api.list("events"), ensure_ascii=False)
        for kind in ("configmaps", "leases.coordination.k8s.io"):
            yield kind, json.dumps(api.list(kind, chart.NAMESPACE), ensure_ascii=False)
        for file in ("cmdline", "environ", "comm"):
            yield file, Path(f"/proc/{self.operator.pid}/{file}").read_text()
        for words in (
            ("signals", self.site.namespace, "--all", "--prometheus-config", str(self.config)),
            ("status",),
            ("explain", f"{self.site.namespace}/waits"),
        ):
            yield words[0], self._prints(*words)

    def _prints(self, *words: str) -> str:
        ended = command.run(*words, "--kubeconfig", str(self.access), env={"COLUMNS": "4000"})
        ended.check_returncode()
        return ended.stdout + ended.stderr


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("authority"))


@contextmanager
def scene(cluster: Cluster, folder: Path, authority: Certificates, *, basic: bool) -> Iterator[Scene]:
    """`basic`: over HTTP, with a name and a password. Otherwise over HTTPS with a token and a client certificate."""
    for name, text in {"token": TOKEN, "key": KEY, "password": PASSWORD, "name": "reader"}.items():
        (folder / name).write_text(text + "\n")
    (folder / "ca.crt").write_bytes(authority.ca.read_bytes())
    tls = None if basic else authority.server_context(client_required=True)
    config, site = folder / "source.yaml", Site(cluster)
    with mirror(tls) as server, chart.installed(cluster):
        way: dict[str, Any] = (
            {"basicAuth": {"usernameFile": f"{folder}/name", "passwordFile": f"{folder}/password"}}
            if basic
            else {
                "bearerTokenFile": f"{folder}/token",
                "caFile": f"{folder}/ca.crt",
                "clientCertificate": {"certFile": str(authority.client), "keyFile": str(authority.client_key)},
            }
        )
        source = {"url": server.url, "intervalSeconds": 1, "headerFiles": {"X-Key": f"{folder}/key"}, **way}
        config.write_text(yaml.safe_dump(source))
        flags = ["--prometheus-config", str(config), "--log-level", "debug"]
        metrics = [
            {"name": mode, "query": f"sum({mode})", "enter": "5", "exit": "1", "maxAgeSeconds": 5} for mode in MODES
        ]
        access = kubeconfig.write(
            folder / "kubeconfig",
            server=cluster.url,
            ca_file=cluster.ca_file,
            token=cluster.api.token(chart.SERVICE_ACCOUNT, chart.NAMESPACE),
        )
        try:
            site.add_nodes("aws")
            site.create(objects.gpu_pod("waits", gpus=99))
            with (
                OperatorProcess(cluster, flags=flags) as operator,
                pools.pool(site, ("aws", "nebius"), saturation={**pools.AT_ONCE, "metrics": metrics}),
            ):
                operator.wait_leading()
                yield Scene(site, operator, server, folder, config, access)
        finally:
            site.close()


def leaks(outputs: Iterator[tuple[str, str]], *secrets: str) -> list[tuple[str, str]]:
    """Each credential that an output repeats, in any form."""
    texts = dict(outputs)
    assert all(texts.values()), "each output says something"
    return [
        (name, form)
        for name, text in texts.items()
        for secret in secrets
        for form in {one.rstrip("=") for one in forms(secret)}
        if form in text
    ]


def test_a_token_a_secret_header_and_a_client_key_are_in_no_output(
    cluster: Cluster, tmp_path: Path, authority: Certificates
) -> None:
    private = authority.client_key.read_text().splitlines()[1]
    with scene(cluster, tmp_path, authority, basic=False) as own:
        own.wait_messages(**MODES)
        assert {sent["Authorization"] for sent in own.mirror.seen} == {f"Bearer {TOKEN}"}
        assert {sent["X-Key"] for sent in own.mirror.seen} == {KEY}
        assert leaks(own.outputs(), TOKEN, KEY, private) == []
        assert own.mirror.elsewhere == []
        # Kubernetes replaces files that are mounted. The next query has the new content.
        own.mirror.seen.clear()
        _replace(tmp_path / "token", ROTATED)
        own.operator.wait_for(
            lambda: f"Bearer {ROTATED}" in {sent["Authorization"] for sent in own.mirror.seen}, "to send the new token"
        )
        # An authority that did not sign the server's certificate.
        other = tmp_path / "other"
        other.mkdir()
        _replace(tmp_path / "ca.crt", certificates(other).ca.read_text())
        own.wait_messages(good="no connection to https://127.0.0.1")
        assert leaks(own.outputs(), TOKEN, ROTATED, KEY, private) == []
        _replace(tmp_path / "ca.crt", authority.ca.read_text())
        own.wait_messages(good="")


def test_a_password_is_in_no_output(cluster: Cluster, tmp_path: Path, authority: Certificates) -> None:
    pair = f"reader:{PASSWORD}"
    with scene(cluster, tmp_path, authority, basic=True) as own:
        own.wait_messages(**MODES)
        expected = f"Basic {base64.b64encode(pair.encode()).decode()}"
        assert {sent["Authorization"] for sent in own.mirror.seen} == {expected}
        assert leaks(own.outputs(), PASSWORD, pair, KEY) == []
        assert own.mirror.elsewhere == []


def _replace(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)
