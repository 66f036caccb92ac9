"""Access by kubeconfig and service account, also when they change."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from computepool.kube import errors
from computepool.kube.client import ApiClient
from computepool.kube.credentials import (
    Access,
    AccessError,
    Credentials,
    environment_proxy,
    in_cluster_access,
    load_access,
    static_access,
)
from tests.fakes.apiserver import Behaviour, FakeApiServer
from tests.fakes.following import HandClock
from tests.fakes.tls import Certificates, certificates

VERSION = "/version"


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("pem"))


def kubeconfig(folder: Path, url: str, user: dict[str, Any], **cluster: Any) -> str:
    """Write a kubeconfig with a context `here` and one that leads nowhere."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [
            {"name": "c", "cluster": {"server": url, **cluster}},
            {"name": "nowhere", "cluster": {"server": "http://127.0.0.1:1"}},
        ],
        "users": [{"name": "u", "user": user}],
        "contexts": [
            {"name": "here", "context": {"cluster": "c", "user": "u"}},
            {"name": "away", "context": {"cluster": "nowhere", "user": "u"}},
        ],
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return str(path)


def serve(
    scenario: Callable[[FakeApiServer], Coroutine[Any, Any, None]], behaviour: Behaviour | None = None, **tls: Any
) -> None:
    async def run() -> None:
        async with FakeApiServer(behaviour, **tls) as server:
            await scenario(server)

    asyncio.run(run())


async def answered(access: Access) -> bool:
    async with ApiClient(access) as client:
        return "gitVersion" in msgspec.json.decode(await client.get(VERSION))


def test_a_kubeconfig_with_ca_and_token_is_understood(pem: Certificates, tmp_path: Path) -> None:
    async def scenario(server: FakeApiServer) -> None:
        path = kubeconfig(tmp_path, server.url, {"token": "secret"}, **{"certificate-authority": str(pem.ca)})
        assert await answered(await load_access(path))

    serve(scenario, Behaviour(token="secret"), tls=pem.server_context())


def test_a_client_certificate_is_shown(pem: Certificates, tmp_path: Path) -> None:
    async def scenario(server: FakeApiServer) -> None:
        user = {"client-certificate": str(pem.client), "client-key": str(pem.client_key)}
        path = kubeconfig(tmp_path, server.url, user, **{"certificate-authority": str(pem.ca)})
        assert await answered(await load_access(path))

    serve(scenario, tls=pem.server_context(client_required=True))


def test_a_server_with_another_ca_is_not_trusted_unless_that_is_asked_for(pem: Certificates, tmp_path: Path) -> None:
    async def scenario(server: FakeApiServer) -> None:
        other = tmp_path / "other"
        other.mkdir()
        wrong = kubeconfig(tmp_path, server.url, {}, **{"certificate-authority": str(certificates(other).ca)})
        with pytest.raises(errors.Unavailable, match=r"Certificate: 127\.0\.0\.1:.* certificate"):
            await answered(await load_access(wrong))
        insecure = kubeconfig(tmp_path, server.url, {}, **{"insecure-skip-tls-verify": True})
        assert await answered(await load_access(insecure))

    serve(scenario, tls=pem.server_context())


def test_the_name_to_expect_in_the_certificate_can_be_told(pem: Certificates, tmp_path: Path) -> None:
    async def scenario(server: FakeApiServer) -> None:
        url = server.url.replace("127.0.0.1", "localhost")
        ca = {"certificate-authority": str(pem.ca)}
        mismatch = r"Certificate: localhost:.*certificate is not valid for 'localhost'$"
        with pytest.raises(errors.Unavailable, match=mismatch):
            await answered(await load_access(kubeconfig(tmp_path, url, {}, **ca)))
        named = kubeconfig(tmp_path, url, {}, **ca, **{"tls-server-name": "api.test"})
        assert await answered(await load_access(named))

    serve(scenario, tls=pem.server_context())


def test_another_context_of_the_file_can_be_asked_for(tmp_path: Path) -> None:
    async def scenario(server: FakeApiServer) -> None:
        access = await load_access(kubeconfig(tmp_path, server.url, {}), context="away")
        assert access.credentials.host == "http://127.0.0.1:1"

    serve(scenario)


def test_a_token_replaced_in_its_file_is_read_again_once_the_old_one_is_refused(tmp_path: Path) -> None:
    clock = HandClock()
    token = tmp_path / "token"
    token.write_text("first\n")

    async def scenario(server: FakeApiServer) -> None:
        path = kubeconfig(tmp_path, server.url, {"tokenFile": str(token)})
        async with ApiClient(await load_access(path, clock=clock)) as client:
            await client.get(VERSION)
            clock.advance(3600)
            token.write_text("second\n")
            server.behaviour.token = "second"
            await client.get(VERSION)
            assert [call.status for call in server.calls] == [200, 401, 200]

    serve(scenario, Behaviour(token="first"))


def plugin(folder: Path, **status: str) -> dict[str, Any]:
    """Write a credential plugin that gives out the token in the file `plugin-token` and counts its runs."""
    script = folder / "plugin.py"
    script.write_text(
        "import json, pathlib\n"
        f"folder = pathlib.Path({str(folder)!r})\n"
        "runs = folder / 'runs'\n"
        "runs.write_text(runs.read_text() + 'x' if runs.exists() else 'x')\n"
        f"status = {{'token': (folder / 'plugin-token').read_text(), **{status!r}}}\n"
        "version = 'client.authentication.k8s.io/v1'\n"
        "print(json.dumps({'apiVersion': version, 'kind': 'ExecCredential', 'status': status}))\n"
    )
    version = "client.authentication.k8s.io/v1"
    return {"exec": {"apiVersion": version, "command": sys.executable, "args": [str(script)]}}


def test_a_credential_plugin_is_run_and_run_again_when_its_token_is_refused(tmp_path: Path) -> None:
    clock = HandClock()
    (tmp_path / "plugin-token").write_text("first")

    async def scenario(server: FakeApiServer) -> None:
        path = kubeconfig(tmp_path, server.url, plugin(tmp_path))
        async with ApiClient(await load_access(path, clock=clock)) as client:
            await asyncio.gather(*(client.get(VERSION) for _ in range(5)))
            assert (tmp_path / "runs").read_text() == "x"
            clock.advance(3600)
            (tmp_path / "plugin-token").write_text("second")
            server.behaviour.token = "second"
            await asyncio.gather(*(client.get(VERSION) for _ in range(20)))
            assert (tmp_path / "runs").read_text() == "xx"

    serve(scenario, Behaviour(token="first"))


def test_a_credential_plugin_that_told_an_expiry_is_run_before_it(tmp_path: Path) -> None:
    (tmp_path / "plugin-token").write_text("first")

    async def scenario(server: FakeApiServer) -> None:
        clock = HandClock()
        path = kubeconfig(tmp_path, server.url, plugin(tmp_path, expirationTimestamp="2199-01-01T00:00:00Z"))
        async with ApiClient(await load_access(path, clock=clock)) as client:
            await client.get(VERSION)
            clock.advance(200 * 366 * 86400)
            (tmp_path / "plugin-token").write_text("second")
            server.behaviour.token = "second"
            await client.get(VERSION)
            assert [call.status for call in server.calls] == [200, 200]

    serve(scenario, Behaviour(token="first"))


def test_credentials_that_stay_refused_are_not_loaded_in_a_loop(tmp_path: Path) -> None:
    clock = HandClock()
    (tmp_path / "plugin-token").write_text("wrong")

    async def scenario(server: FakeApiServer) -> None:
        path = kubeconfig(tmp_path, server.url, plugin(tmp_path))
        async with ApiClient(await load_access(path, clock=clock)) as client:
            for _ in range(5):
                with pytest.raises(errors.Unauthorized):
                    await client.get(VERSION)
            assert (tmp_path / "runs").read_text() == "x"
            clock.advance(10)
            with pytest.raises(errors.Unauthorized):
                await client.get(VERSION)
            assert (tmp_path / "runs").read_text() == "xx"

    serve(scenario, Behaviour(token="right"))


def test_the_service_account_of_a_pod_is_used_and_its_token_read_again_every_minute(
    pem: Certificates, tmp_path: Path
) -> None:
    clock = HandClock()
    (tmp_path / "token").write_text("first")
    (tmp_path / "ca.crt").write_bytes(pem.ca.read_bytes())

    async def scenario(server: FakeApiServer) -> None:
        host, port = server.url.removeprefix("https://").split(":")
        environ = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
        access = await in_cluster_access(tmp_path, environ, clock=clock)
        async with ApiClient(access) as client:
            await client.get(VERSION)
            tls = access.credentials.tls
            (tmp_path / "token").write_text("second\n")
            server.behaviour.token = "second"
            clock.advance(61)
            await client.get(VERSION)
            assert [call.status for call in server.calls] == [200, 200]
            # The warm connections stay good: they belong to the TLS context.
            assert access.credentials.tls is tls

    serve(scenario, Behaviour(token="first"), tls=pem.server_context())


def test_a_replaced_ca_makes_a_new_tls_context(pem: Certificates, tmp_path: Path) -> None:
    ca = tmp_path / "ca.crt"
    ca.write_bytes(pem.ca.read_bytes())

    async def scenario(server: FakeApiServer) -> None:
        clock = HandClock()
        access = await load_access(
            kubeconfig(tmp_path, server.url, {}, **{"certificate-authority": str(ca)}), clock=clock
        )
        before = access.credentials
        os.utime(ca, ns=(1, 1))
        clock.advance(10)
        assert await access.renew(before)
        assert access.credentials.tls is not before.tls

    serve(scenario, tls=pem.server_context())


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "cannot use kubeconfig"),
        ("current-context: absent\ncontexts: []\nclusters: []\nusers: []\n", "absent"),
        ("{", "cannot use kubeconfig"),
    ],
)
def test_a_kubeconfig_that_makes_no_sense_is_refused_with_a_sentence(
    tmp_path: Path, content: str, sentence: str
) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(content)
    with pytest.raises(AccessError, match=sentence):
        asyncio.run(load_access(str(path)))


def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match=r"no kubeconfig file at .*/absent"):
        asyncio.run(load_access(str(tmp_path / "absent")))


def test_a_pod_without_its_mounted_account_is_told_what_is_missing(tmp_path: Path) -> None:
    environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    with pytest.raises(AccessError, match="cannot use the pod's service account: Service token file does not exist"):
        asyncio.run(in_cluster_access(tmp_path, environ))


def test_credentials_that_cannot_be_loaded_anew_make_the_call_unauthorized_and_not_the_program_end() -> None:
    clock = HandClock()

    async def broken() -> Credentials:
        raise AccessError("cannot use kubeconfig x: it is gone")

    async def scenario(server: FakeApiServer) -> None:
        access = Access(broken, static_access(server.url, token="old").credentials, clock=clock)
        clock.advance(10)
        async with ApiClient(access) as client:
            with pytest.raises(errors.Unauthorized, match="it is gone"):
                await client.get(VERSION)

    serve(scenario, Behaviour(token="new"))


def test_the_environments_proxy_is_used_where_it_applies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "127.0.0.1,.internal")
    assert environment_proxy("https://api.example.com:6443") == "http://proxy:3128"
    assert environment_proxy("https://api.internal:6443") is None
    assert environment_proxy("https://127.0.0.1:6443") is None
    assert environment_proxy("https://") is None
    monkeypatch.setenv("https_proxy", "proxy:3128")
    assert environment_proxy("https://api.example.com:6443") == "http://proxy:3128"


@pytest.mark.parametrize("proxy", ["socks5://u:secret@127.0.0.1:1", "foo", "http://", "http://u:secret@h:99999", "//h"])
def test_a_proxy_that_is_no_http_proxy_is_refused_without_its_password(tmp_path: Path, proxy: str) -> None:
    path = kubeconfig(tmp_path, "https://127.0.0.1:1", {}, **{"proxy-url": proxy})
    with pytest.raises(AccessError, match="only HTTP proxies work, and SOCKS does not") as refused:
        asyncio.run(load_access(path))
    assert "secret" not in str(refused.value)


def test_a_socks_proxy_of_the_environment_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "socks5://proxy:1080")
    with pytest.raises(AccessError, match="HTTPS_PROXY"):
        asyncio.run(load_access(kubeconfig(tmp_path, "https://api.example.com", {})))


def test_an_http_proxy_is_used(tmp_path: Path) -> None:
    for proxy in ("http://u:p@proxy:3128", "https://proxy"):
        path = kubeconfig(tmp_path, "https://127.0.0.1:1", {}, **{"proxy-url": proxy})
        assert asyncio.run(load_access(path)).credentials.proxy == proxy
