"""The address of the API server, and the credentials for it.

The official client reads kubeconfig files, runs credential plugins and finds the in-cluster service account. From its
configuration this module takes the few values that the HTTP client needs, and keeps them current.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import yaml
import yarl
from kubernetes.aio import config as kube_config
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException
from kubernetes.aio.config.incluster_config import InClusterConfigLoader

from computepool.kube.kubeconfig_problems import UNFINDABLE, files_in, plugin_in, problem_in

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where the kubelet mounts a pod's token and the cluster's CA."""
TOKEN_FILE_SECONDS = 60.0
"""Time between two readings of the in-cluster token. The kubelet replaces it when 80 % of its life is over."""
EXPIRY_MARGIN = 60.0
"""Seconds before the expiry of a plugin's credential at which the plugin runs again."""
RENEW_AT_MOST_EVERY = 5.0
"""Least seconds between reloads after a 401, so that a lasting refusal does not run a plugin in a loop."""

_loaders_logger = logging.getLogger("kubernetes.aio.config.kube_config")
_load_kube_config = cast("Callable[..., Awaitable[Any]]", kube_config.load_kube_config)
_incluster_loader = cast("Callable[..., Any]", InClusterConfigLoader)


# The official loader checks little. It raises these for files that are absent, not YAML, or YAML of another shape.
_UNUSABLE = (ConfigException, *UNFINDABLE, yaml.YAMLError, ValueError, TypeError, AttributeError, KeyError)


class AccessError(Exception):
    """No usable configuration; the message names the source and the problem."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The loaded configuration. `expires_at` is in monotonic seconds; None: valid until the API server refuses it."""

    host: str
    authorization: str | None = None
    tls: ssl.SSLContext | None = None
    server_hostname: str | None = None
    proxy: str | None = None
    expires_at: float | None = None


class Access:
    """The current Credentials, which are loaded again when they expire or are refused."""

    def __init__(
        self,
        load: Callable[[], Awaitable[Credentials]],
        first: Credentials,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`load` raises AccessError; `first` is its last result; `clock` is monotonic."""
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
        """Load again, unless the credentials have changed since `refused`; return whether there are new ones to try.

        If many requests are refused at once, only one of them loads. Raises AccessError.
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
    """Load the given file, else $KUBECONFIG or ~/.kube/config if it exists, else the service account.

    Raises AccessError.
    """
    named = kubeconfig or os.environ.get("KUBECONFIG")
    paths = named or "~/.kube/config"
    try:
        exists = any(files_in(paths))
    except UNFINDABLE as error:
        raise AccessError(f"cannot use kubeconfig {paths}: {error}") from error
    if exists:
        return await _access(_KubeconfigLoader(paths, context, clock), clock)
    if named or context:
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
    """Use the pod's service account, and read its token again every minute. Raises AccessError."""
    return await _access(_InClusterLoader(mounted, environ, clock), clock)


def static_access(host: str, *, token: str | None = None, tls: ssl.SSLContext | None = None) -> Access:
    """Use this server and token always, for tests and benchmarks."""
    credentials = Credentials(host.rstrip("/"), authorization=f"Bearer {token}" if token else None, tls=tls)

    async def unchanged() -> Credentials:
        return credentials

    return Access(unchanged, credentials)


async def _access(loader: _Loader, clock: Callable[[], float]) -> Access:
    return Access(loader.load, await loader.load(), clock=clock)


class _Loader:
    """Loads credentials, and keeps the TLS context while its files stay the same.

    Connections are pooled by context: a new context after each reload would close all warm connections.
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
            _check_server(configuration.host)
            proxy = configuration.proxy or self._default_proxy(configuration.host)
            if proxy is not None:
                _check_proxy(proxy)
            tls = self._tls_of(configuration) if configuration.host.startswith("https") else None
        except ssl.SSLError as error:
            what = "the cluster's certificate authority, or the user's certificate or key, can't be read"
            raise AccessError(f"cannot use {self}: {what} ({error.reason or error})") from error
        except _UNUSABLE as error:
            raise AccessError(f"cannot use {self}: {self._problem() or ' '.join(str(error).split())}") from error
        token = await configuration.get_api_key_with_prefix("BearerToken")
        return Credentials(
            configuration.host.rstrip("/"),
            authorization=token.strip() if token else None,
            tls=tls,
            server_hostname=configuration.tls_server_name,
            proxy=proxy,
            expires_at=expires_at,
        )

    async def _fill(self, configuration: Configuration) -> float | None:
        """Load into `configuration`; return when to load again, in monotonic seconds, or None."""
        raise NotImplementedError

    def _problem(self) -> str | None:
        """Return why loading failed, as far as the files tell."""
        return None

    def _default_proxy(self, host: str) -> str | None:
        """Return the proxy for a configuration without one."""
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
        # Python does not support network ranges (NO_PROXY=10.0.0.0/8), and a service address needs no proxy.
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
        with logged_errors() as logged:
            loader = await _load_kube_config(
                config_file=self._paths, context=self._context, client_configuration=configuration, persist_config=False
            )
        known = bool(configuration.cert_file or await configuration.get_api_key_with_prefix("BearerToken"))
        if not known and (plugin := plugin_in(self._paths, self._context)) is not None:
            why = "; ".join(logged) or "it printed none"
            raise ConfigException(
                f"its credential plugin {plugin!r} gave no credentials ({why}): install it, or log in"
            )
        # Set only if a credential plugin gave an expiry. A plugin that gave none runs again after a 401.
        expiry: datetime | None = getattr(loader, "exec_plugin_expiry", None)
        if expiry is None:
            return None
        return self._clock() + max(0.0, (expiry - datetime.now(UTC)).total_seconds() - EXPIRY_MARGIN)

    def _problem(self) -> str | None:
        return problem_in(self._paths, self._context)

    def __str__(self) -> str:
        return f"kubeconfig {self._paths}"


def environment_proxy(host: str) -> str | None:
    """Return the proxy that HTTPS_PROXY and NO_PROXY ask for. This is too slow for each request."""
    url = urlsplit(host)
    if url.hostname is None or urllib.request.proxy_bypass(url.hostname):
        return None
    proxy = urllib.request.getproxies().get(url.scheme)
    # kubectl and curl take a proxy without a scheme as an HTTP proxy.
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy


def _check_server(host: str) -> None:
    """Raise ConfigException for an address that no request can be sent to."""
    if urlsplit(host).scheme not in ("http", "https"):
        raise ConfigException(f"the cluster's `server` is no address that begins with https: {host}")
    try:
        url = yarl.URL(host)
    except ValueError as error:
        raise ConfigException(f"the cluster's `server` is no address: {host} ({error})") from error
    if url.host is None or url.raw_query_string or url.raw_fragment:
        raise ConfigException(f"the cluster's `server` must be an address with a host and no query: {host}")


def _check_proxy(proxy: str) -> None:
    """Raise ConfigException for a proxy that is no HTTP proxy. Its address may have a password, and is not told."""
    try:
        url = yarl.URL(proxy)
        usable = url.scheme in ("http", "https") and url.host is not None
    except ValueError:
        usable = False
    if not usable:
        raise ConfigException(
            "the proxy (`proxy-url`, or HTTPS_PROXY) must be an address such as http://proxy:3128: only HTTP proxies "
            "work, and SOCKS does not"
        )


@contextmanager
def logged_errors() -> Iterator[list[str]]:
    """Collect the errors that the official loader logs and does not raise: a plugin that failed."""
    logged: list[str] = []
    collector = logging.Handler(logging.ERROR)
    collector.emit = lambda record: logged.append(record.getMessage())  # type: ignore[method-assign]
    _loaders_logger.addHandler(collector)
    propagated, _loaders_logger.propagate = _loaders_logger.propagate, False
    try:
        yield logged
    finally:
        _loaders_logger.propagate = propagated
        _loaders_logger.removeHandler(collector)


def _tls_context(configuration: Configuration) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    # The CAs of many clusters lack extensions that OpenSSL's strict mode (default from Python 3.13) requires. kubectl
    # does not require them.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
