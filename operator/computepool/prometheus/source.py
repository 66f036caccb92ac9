"""Where the cluster's metrics are: the address of a Prometheus, and the files with the credentials for it.

The platform team writes this once, in the chart's values. The chart mounts it as a file in YAML, and Secrets beside it.
Secrets are read anew when their files change, because they are rotated. No credential is part of this configuration.
"""

import json
import re
import ssl
from base64 import b64encode, urlsafe_b64encode
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Annotated, Any, Final, Self
from urllib.parse import quote, quote_plus, urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.alias_generators import to_camel

from computepool.model.api.signals import LABEL_NAME
from computepool.prometheus.errors import ConfigError

_HEADER: Final = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"
_HEADER_VALUE: Final = r"^[^\x00-\x08\x0A-\x1F\x7F]*$"
_ADDRESS: Final = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[^\s/:?#@\[\]]+)(:[0-9]{1,5})?(/[^\s?#@]*)?")
_OWN_PARAMETERS: Final = frozenset(("query", "time", "timeout"))
_OWN_HEADERS: Final = frozenset(
    ("connection", "content-encoding", "content-length", "content-type", "transfer-encoding")
)
_CACHED: Final = 4
Text = Annotated[str, Field(max_length=4096)]
Parameter = Annotated[str, Field(max_length=4096, pattern=r"^[^\x00-\x1F\x7F]+$")]
Header = Annotated[str, Field(pattern=_HEADER)]
HeaderValue = Annotated[str, Field(max_length=4096, pattern=_HEADER_VALUE)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, validate_by_name=True)


class BasicAuth(_Part):
    """Files with a name and a password."""

    username_file: Path
    password_file: Path


class ClientCertificate(_Part):
    """Files with a certificate and its key, in PEM."""

    cert_file: Path
    key_file: Path


class Source(_Part):
    """The configuration of the one source of metrics."""

    url: Text
    """The address without /api/v1, such as https://prometheus.monitoring:9090."""
    bearer_token_file: Path | None = None
    basic_auth: BasicAuth | None = None
    ca_file: Path | None = None
    """Certificates of the authorities that may sign the server's certificate. None: the system's."""
    client_certificate: ClientCertificate | None = None
    headers: dict[Header, HeaderValue] = {}
    """Headers that are no secret, such as the tenant of Mimir."""
    header_files: dict[Header, Path] = {}
    """By name of a header: a file with its value."""
    query_parameters: dict[Parameter, Text] = {}
    """Parameters of each query, such as `dedup` of Thanos."""
    enforced_labels: dict[Annotated[str, Field(pattern=LABEL_NAME)], Text] = {}
    """Labels that are put on every selector of every query."""
    timeout_seconds: Annotated[float, Field(ge=1, le=120)] = 10.0
    interval_seconds: Annotated[float, Field(ge=1, le=3600)] = 15.0
    """The time between two answers to the same query."""

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            _ = parts.port
        except ValueError:
            # Its text repeats the address.
            parts = urlsplit("")
        if parts.username or parts.password:
            raise ValueError("the address must not contain a name or a password: use basicAuth")
        if parts.query or parts.fragment:
            raise ValueError("the address must not contain parameters: use queryParameters")
        if not parts.hostname or _ADDRESS.fullmatch(url) is None:
            raise ValueError("give the address with its scheme and host, such as https://prometheus.monitoring:9090")
        return url.rstrip("/").removesuffix("/api/v1")

    @field_validator("query_parameters")
    @classmethod
    def _leaves_own_parameters(cls, parameters: dict[str, str]) -> dict[str, str]:
        if taken := _OWN_PARAMETERS.intersection(parameters):
            raise ValueError(f"the operator sets {', '.join(sorted(taken))} itself: remove that parameter")
        return parameters

    @field_validator("enforced_labels")
    @classmethod
    def _leaves_names_of_metrics(cls, labels: dict[str, str]) -> dict[str, str]:
        if "__name__" in labels:
            raise ValueError("__name__ is the metric, which each query names itself: remove it")
        return labels

    @model_validator(mode="after")
    def _has_one_authorization(self) -> Self:
        named = {name.lower() for name in (*self.headers, *self.header_files)}
        ways = (self.bearer_token_file is not None, self.basic_auth is not None, "authorization" in named)
        if sum(ways) > 1:
            raise ValueError("there is more than one authorization: keep the bearer token, basicAuth or the header")
        if len(named) < len(self.headers) + len(self.header_files):
            raise ValueError("a header is given twice: keep one value")
        if taken := _OWN_HEADERS.intersection(named):
            raise ValueError(f"the operator sets the header {', '.join(sorted(taken))} itself: remove it")
        return self


def load_source(path: Path) -> Source:
    """Read the configuration. Raises ConfigError that names the field."""
    # No error repeats what the file says: a credential may have got into it.
    try:
        content: Any = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"can't read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"can't read {path}: byte {error.start} is not UTF-8") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = "" if mark is None else f" at line {mark.line + 1}, column {mark.column + 1}"
        raise ConfigError(f"can't read {path}: this is not YAML{place}") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ConfigError(f"can't read {path}: this is not YAML") from None
    try:
        return Source.model_validate(content)
    except ValidationError as error:
        told = (f"{'.'.join(map(str, one['loc'])) or 'the file'}: {one['msg']}" for one in error.errors())
        raise ConfigError(f"{path}: {'; '.join(told)}") from None


@dataclass(frozen=True, slots=True)
class Credentials:
    """What one request is sent with."""

    headers: dict[str, str]
    tls: ssl.SSLContext | None
    """None: the address is not HTTPS."""
    hidden: tuple[str, ...]
    """Texts that no message may repeat, the longest first: a secret may be the beginning of another."""

    def hide(self, text: str) -> str:
        """Return the text without these texts."""
        for secret in self.hidden:
            text = text.replace(secret, "***")
        return text


class Secrets:
    """The credentials of a source, read anew when a file changes."""

    def __init__(self, source: Source) -> None:
        """Nothing is read yet."""
        self._source = source
        self._texts: dict[Path, tuple[object, str]] = {}
        self._tls: tuple[object, ssl.SSLContext] | None = None

    def read(self) -> Credentials:
        """Return the credentials of one request. Raises ConfigError."""
        source = self._source
        secret = {name: self._text(path) for name, path in source.header_files.items()}
        hidden = set(secret.values())
        if source.bearer_token_file is not None:
            token = self._text(source.bearer_token_file)
            secret["Authorization"] = f"Bearer {token}"
            hidden.add(token)
        if source.basic_auth is not None:
            password = self._text(source.basic_auth.password_file)
            pair = f"{self._text(source.basic_auth.username_file)}:{password}".encode()
            encoded = b64encode(pair).decode()
            secret["Authorization"] = f"Basic {encoded}"
            hidden.update((password, encoded))
        tls = self._tls_context() if source.url.startswith("https:") else None
        return Credentials({**source.headers, **secret}, tls, _forms(tuple(sorted(hidden))))

    def _tls_context(self) -> ssl.SSLContext:
        """Return the TLS context. It stays the same object while its files do: connections are pooled by it."""
        certificate = self._source.client_certificate
        own = () if certificate is None else (certificate.cert_file, certificate.key_file)
        authorities = () if self._source.ca_file is None else (self._source.ca_file,)
        made_from = tuple(_stamp(path) for path in (*authorities, *own))
        if self._tls is None or self._tls[0] != made_from:
            self._tls = (made_from, self._context())
        return self._tls[1]

    def _context(self) -> ssl.SSLContext:
        source = self._source
        try:
            context = ssl.create_default_context(cafile=source.ca_file)
            if source.client_certificate is not None:
                context.load_cert_chain(source.client_certificate.cert_file, source.client_certificate.key_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"the certificates for {source.url} can't be used: {error}") from error
        # The CAs of many clusters lack extensions that OpenSSL's strict mode (default from Python 3.13) requires.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context

    def _text(self, path: Path) -> str:
        stamp = _stamp(path)
        read = self._texts.get(path)
        if read is None or read[0] != stamp:
            try:
                text = path.read_text().strip()
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(f"can't read {path}: {type(error).__name__}") from error
            if not text or not text.isprintable():
                raise ConfigError(f"{path} must contain one line of text: check the Secret")
            read = self._texts[path] = (stamp, text)
        return read[1]


@lru_cache(maxsize=_CACHED)
def _forms(secrets: tuple[str, ...]) -> tuple[str, ...]:
    """Return the secrets as they are, and as servers write them: encoded, in a URL, in JSON, in Python, in HTML."""
    forms: set[str] = set()
    for secret in secrets:
        for encode in (b64encode, urlsafe_b64encode):
            forms.add(encode(secret.encode()).decode().rstrip("="))
        for encoded in (quote(secret), quote(secret, safe=""), quote_plus(secret)):
            forms.update((encoded, re.sub("%..", lambda found: found[0].lower(), encoded)))
        forms.update((secret, json.dumps(secret)[1:-1], repr(secret)[1:-1], escape(secret)))
        forms.add(json.dumps(secret, ensure_ascii=False)[1:-1])
    return tuple(sorted(forms, key=lambda form: (-len(form), form)))


def _stamp(path: Path) -> object:
    """Return what changes when a file does. Kubernetes replaces a mounted Secret by a new folder behind a link."""
    try:
        found = path.stat()
    except OSError as error:
        raise ConfigError(f"can't read {path}: {error.strerror}") from error
    return (path, found.st_ino, found.st_mtime_ns, found.st_size)
