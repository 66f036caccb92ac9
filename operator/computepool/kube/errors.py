"""The API server's refusals as typed errors, mapped once, at the edge.

Statuses and reasons follow `k8s.io/apimachinery/pkg/apis/meta/v1` (Status, StatusReason).
"""

# The names are the API's own reasons, and are read as `except errors.NotFound`.
# ruff: noqa: N818

from __future__ import annotations

from typing import ClassVar, TypeVar

import aiohttp
import msgspec

from computepool.kube.wire import Status, StatusCause, StatusDetails
from computepool.model.text import cut

T = TypeVar("T")

MAX_MESSAGE = 1000
"""Limit for the characters of a message: a proxy may answer with a page of HTML."""


class ApiError(Exception):
    """A call that did not succeed.

    `status` is the HTTP status, 0 without an answer; `reason` is the server's one-word reason; `retryable` says whether
    the same call may succeed later; `retry_after` is the delay in seconds that the server asked for, or None.
    """

    retryable: ClassVar[bool] = False

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        *,
        request: str = "",
        retry_after: float | None = None,
        causes: tuple[StatusCause, ...] = (),
    ) -> None:
        """`request` is the verb and the path, for the text only."""
        super().__init__(status, reason, message)
        self.status = status
        self.reason = reason
        self.message = message
        self.request = request
        self.retry_after = retry_after
        self.causes = causes

    def __str__(self) -> str:
        """Return one line for logs: the request, the status and the server's message."""
        code = f"{self.status} {self.reason}".strip() if self.status else self.reason
        return ": ".join(part for part in (self.request, code, self.message) if part)


class BadRequest(ApiError):
    """400: the server does not understand the request."""


class Unauthorized(ApiError):
    """401: the server refuses the credentials, also after they were loaded again."""


class Forbidden(ApiError):
    """403: the server accepts the credentials, but they lack the right."""


class NotFound(ApiError):
    """404: no such object, or no such API."""


class Conflict(ApiError):
    """409: the object has changed since (resourceVersion or uid precondition)."""


class AlreadyExists(Conflict):
    """409 on create: the name is taken."""


class Gone(ApiError):
    """410: the resourceVersion or continue token is too old for the server. List again."""


class Invalid(ApiError):
    """422: validation, an admission policy or a `test` of a JSON patch has failed."""


class TooManyRequests(ApiError):
    """429: the server is overloaded, or a PodDisruptionBudget does not allow an eviction now."""

    retryable = True


class Unavailable(ApiError):
    """5xx, no connection, or no answer in time. It is unknown whether a write with this error was made."""

    retryable = True


_BY_STATUS: dict[int, type[ApiError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: TooManyRequests,
}
_decode_status = msgspec.json.Decoder(Status).decode


def from_status(status: Status, *, request: str = "", retry_after: float | None = None) -> ApiError:
    """Map a Status, from an answer or from a watch's ERROR line, to its typed error."""
    details = status.details or StatusDetails()
    if retry_after is None and details.retry_after_seconds:
        retry_after = float(details.retry_after_seconds)
    return _class_of(status)(
        status.code, status.reason, status.message, request=request, retry_after=retry_after, causes=details.causes
    )


def from_answer(code: int, body: bytes, *, request: str, retry_after: str | None = None) -> ApiError:
    """Map an HTTP answer without success. The body may come from a proxy, and not from Kubernetes."""
    try:
        status = _decode_status(body)
    except msgspec.MsgspecError:
        status = Status(message=body[:MAX_MESSAGE].decode(errors="replace").strip())
    # Use the HTTP status: a body may lack `code`, or come from a proxy.
    status = msgspec.structs.replace(status, code=code, message=cut(status.message, MAX_MESSAGE))
    return from_status(status, request=request, retry_after=_seconds(retry_after))


def no_answer(error: BaseException, *, request: str) -> Unavailable:
    """Map an error of the transport: refused, reset, TLS, a certificate, timeout."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        why = getattr(error.certificate_error, "verify_message", "") or str(error.certificate_error)
        return Unavailable(0, "Certificate", f"{error.host}:{error.port}: {why.rstrip('.')}", request=request)
    reason = "Timeout" if isinstance(error, TimeoutError) else "NoConnection"
    return Unavailable(0, reason, str(error) or type(error).__name__, request=request)


def garbled(problem: object, *, request: str) -> Unavailable:
    """Return the error for an answer that no API server gives. A proxy may have answered, so it is retryable."""
    return Unavailable(200, "Garbled", f"not what a Kubernetes API server sends: {problem}", request=request)


def decoded(decoder: msgspec.json.Decoder[T], answer: bytes, *, request: str) -> T:
    """Decode the answer to a successful call. Raises Unavailable if it is not of the decoder's type.

    `request` is the verb and the path, for the text of the error.
    """
    try:
        return decoder.decode(answer)
    except msgspec.MsgspecError as error:
        raise garbled(error, request=request) from error


def _class_of(status: Status) -> type[ApiError]:
    if status.code == 409 and status.reason == "AlreadyExists":
        return AlreadyExists
    if status.code >= 500:
        return Unavailable
    if status.code == 0 and status.reason == "Expired":
        return Gone
    return _BY_STATUS.get(status.code, ApiError)


def _seconds(header: str | None) -> float | None:
    """Return the seconds of a Retry-After header. Kubernetes sends whole seconds, never a date."""
    return float(header) if header is not None and header.isdecimal() else None
