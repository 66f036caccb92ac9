"""Where the API server is and how to be known to it.

The official client reads kubeconfig files, runs credential plugins and finds the in-cluster service account; what it
found is turned here into the few things that a fast HTTP client needs, and kept current.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
import urllib.request
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import yaml
from kubernetes.aio import config as kube_config
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException
from kubernetes.aio.config.incluster_config import InClusterConfigLoader

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where the kubelet mounts a pod's token and the cluster's CA."""
TOKEN_FILE_SECONDS = 60.0
"""How often the in-cluster token is read again: the kubelet replaces it when 80 % of its life is over."""
EXPIRY_MARGIN = 60.0
"""Seconds before its expiry that a plugin's credential is asked for anew."""
RENEW_AT_MOST_EVERY = 5.0
"""Seconds between reloads after a 401, so that lasting refusal does not run a credential plugin in a loop."""

_load_kube_config = cast("Callable[..., Awaitable[Any]]", kube_config.load_kube_config)
_incluster_loader = cast("Callable[..., Any]", InClusterConfigLoader)


# What the official loader raises on files that are absent, no YAML, or YAML of another shape: it checks little of that.
_UNUSABLE = (ConfigException, OSError, yaml.YAMLError, ValueError, TypeError, AttributeError, KeyError)


class AccessError(Exception):
    """No usable configuration: a sentence that says what was looked for and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """One loaded state of the configuration. `expires_at` is monotonic seconds, None where it lasts until refused."""

    host: str
    authorization: str | None = None
    tls: ssl.SSLContext | None = None
    server_hostname: str | None = None
    proxy: str | None = None
    expires_at: float | None = None


class Access:
    """The current Credentials, loaded anew when they expire or are refused."""

    def __init__(
        self,
        load: Callable[[], Awaitable[Credentials]],
        first: Credentials,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`load` raises AccessError; `first` is what it returned last."""
        self._load = load
        self._clock = clock
        self._lock = asyncio.Lock()
        self._loaded_at = clock()
        self.credentials = first

    def expired(self) -> bool:
        """Whether `credentials` should be renewed before the next request."""
        expires_at = self.credentials.expires_at
        return expires_at is not None and self._clock() >= expires_at

    async def renew(self, refused: Credentials) -> bool:
        """Load anew, unless the credentials have changed since `refused`; return whether there are others to try now.

        A hundred requests may be refused at once; one of them does the work.
        """
        async with self._lock:
            if self.credentials is not refused:
                return True
            if not self.expired() and self._clock() - self._loaded_at < RENEW_AT_MOST_EVERY:
                return False
            self.credentials = await self._load()
            self._loaded_at = self._clock()
            return True


async def load_access(
    kubeconfig: str | None = None, context: str | None = None, *, clock: Callable[[], float] = time.monotonic
) -> Access:
    """Find the configuration: the file given, else $KUBECONFIG or ~/.kube/config if there, else the service account.

    Raises AccessError.
    """
    asked_for = kubeconfig or os.environ.get("KUBECONFIG")
    paths = asked_for or "~/.kube/config"
    if _any_file(paths):
        return await _access(_KubeconfigLoader(paths, context, clock), clock)
    if asked_for or context:
        raise AccessError(f"no kubeconfig file at {paths}")
    if "KUBERNETES_SERVICE_HOST" not in os.environ:
        raise AccessError(f"no cluster to talk to: no kubeconfig file at {paths}, and this is not a pod of a cluster")
    return await in_cluster_access(clock=clock)


async def in_cluster_access(
    mounted: Path = SERVICE_ACCOUNT,
    environ: Mapping[str, str] = os.environ,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Access:
    """Use the pod's service account, reading its token again every minute. Raises AccessError."""
    return await _access(_InClusterLoader(mounted, environ, clock), clock)


def static_access(host: str, *, token: str | None = None, tls: ssl.SSLContext | None = None) -> Access:
    """Use exactly this server and token, for ever: for tests and measurements."""
    credentials = Credentials(host.rstrip("/"), authorization=f"Bearer {token}" if token else None, tls=tls)

    async def unchanged() -> Credentials:
        return credentials

    return Access(unchanged, credentials)


def _any_file(paths: str) -> bool:
    return any(Path(path).expanduser().is_file() for path in paths.split(os.pathsep) if path)


async def _access(loader: _Loader, clock: Callable[[], float]) -> Access:
    return Access(loader.load, await loader.load(), clock=clock)


class _Loader:
    """Loads credentials, and keeps the TLS context while the files it was made from stay the same.

    Connections are pooled by context: a new one for each reload would throw away all warm connections.
    """

    def __init__(self) -> None:
        self._tls: ssl.SSLContext | None = None
        self._tls_made_from: object = None

    async def load(self) -> Credentials:
        """Raises AccessError."""
        configuration = Configuration()
        try:
            expires_at = await self._fill(configuration)
            if not configuration.host:
                raise ConfigException("the cluster has no `server`")
            tls = self._tls_of(configuration) if configuration.host.startswith("https") else None
        except _UNUSABLE as error:
            raise AccessError(f"cannot use {self}: {error}") from error
        token = await configuration.get_api_key_with_prefix("BearerToken")
        return Credentials(
            configuration.host.rstrip("/"),
            authorization=token.strip() if token else None,
            tls=tls,
            server_hostname=configuration.tls_server_name,
            proxy=configuration.proxy or self._default_proxy(configuration.host),
            expires_at=expires_at,
        )

    async def _fill(self, configuration: Configuration) -> float | None:
        """Load into `configuration`; return when to load again, in monotonic seconds."""
        raise NotImplementedError

    def _default_proxy(self, host: str) -> str | None:
        """Return the proxy to use where the configuration names none."""
        return environment_proxy(host)

    def _tls_of(self, configuration: Configuration) -> ssl.SSLContext:
        files = (configuration.ssl_ca_cert, configuration.cert_file, configuration.key_file)
        made_from = (configuration.verify_ssl, *((file, Path(file).stat().st_mtime_ns) for file in files if file))
        if self._tls is None or made_from != self._tls_made_from:
            self._tls, self._tls_made_from = _tls_context(configuration), made_from
        return self._tls


class _InClusterLoader(_Loader):
    def __init__(self, mounted: Path, environ: Mapping[str, str], clock: Callable[[], float]) -> None:
        super().__init__()
        self._loader = _incluster_loader(
            token_filename=str(mounted / "token"), cert_filename=str(mounted / "ca.crt"), environ=environ
        )
        self._clock = clock

    async def _fill(self, configuration: Configuration) -> float | None:
        self._loader.load_and_set(configuration)
        return self._clock() + TOKEN_FILE_SECONDS

    def _default_proxy(self, host: str) -> str | None:
        # Python's proxy settings know no network ranges (NO_PROXY=10.0.0.0/8), and a service address needs no proxy.
        del host
        return None

    def __str__(self) -> str:
        return "the pod's service account"


class _KubeconfigLoader(_Loader):
    def __init__(self, paths: str, context: str | None, clock: Callable[[], float]) -> None:
        super().__init__()
        self._paths = paths
        self._context = context
        self._clock = clock

    async def _fill(self, configuration: Configuration) -> float | None:
        loader = await _load_kube_config(
            config_file=self._paths, context=self._context, client_configuration=configuration, persist_config=False
        )
        # Set only where a credential plugin told an expiry. A plugin that told none is asked again after a 401.
        expiry: datetime | None = getattr(loader, "exec_plugin_expiry", None)
        if expiry is None:
            return None
        return self._clock() + max(0.0, (expiry - datetime.now(UTC)).total_seconds() - EXPIRY_MARGIN)

    def __str__(self) -> str:
        return f"kubeconfig {self._paths}"


def environment_proxy(host: str) -> str | None:
    """Return the proxy that HTTPS_PROXY and NO_PROXY ask for; asked once, because asking on each request is slow."""
    target = urlsplit(host)
    if target.hostname is None or urllib.request.proxy_bypass(target.hostname):
        return None
    return urllib.request.getproxies().get(target.scheme)


def _tls_context(configuration: Configuration) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    # Many clusters' own CAs lack extensions that OpenSSL's strict mode (on by default from Python 3.13) insists on;
    # kubectl does not ask for them either.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
