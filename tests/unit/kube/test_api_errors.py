"""What the server answers, as types."""

from __future__ import annotations

import pytest

from computepool.kube import errors


def answer(code: int, reason: str = "", body: bytes | None = None, retry_after: str | None = None) -> errors.ApiError:
    if body is None:
        body = b'{"kind":"Status","code":%d,"reason":"%s","message":"because"}' % (code, reason.encode())
    return errors.from_answer(code, body, request="PATCH /api/v1/pods/p", retry_after=retry_after)


@pytest.mark.parametrize(
    ("code", "reason", "kind", "retryable"),
    [
        (400, "BadRequest", errors.BadRequest, False),
        (401, "Unauthorized", errors.Unauthorized, False),
        (403, "Forbidden", errors.Forbidden, False),
        (404, "NotFound", errors.NotFound, False),
        (409, "Conflict", errors.Conflict, False),
        (409, "AlreadyExists", errors.AlreadyExists, False),
        (410, "Expired", errors.Gone, False),
        (422, "Invalid", errors.Invalid, False),
        (429, "TooManyRequests", errors.TooManyRequests, True),
        (500, "InternalError", errors.Unavailable, True),
        (503, "ServiceUnavailable", errors.Unavailable, True),
        (504, "Timeout", errors.Unavailable, True),
        (418, "Teapot", errors.ApiError, False),
    ],
)
def test_each_status_has_its_type(code: int, reason: str, kind: type[errors.ApiError], retryable: bool) -> None:
    error = answer(code, reason)
    assert type(error) is kind
    assert (error.status, error.reason, error.message, error.retryable) == (code, reason, "because", retryable)


def test_the_text_says_what_was_asked_and_what_was_answered() -> None:
    assert str(answer(409, "Conflict")) == "PATCH /api/v1/pods/p: 409 Conflict: because"


def test_a_name_taken_can_be_handled_as_any_conflict() -> None:
    assert isinstance(answer(409, "AlreadyExists"), errors.Conflict)


def test_the_http_status_counts_and_not_what_the_body_claims() -> None:
    assert type(answer(503, body=b'{"code": 404, "message": "upstream"}')) is errors.Unavailable


@pytest.mark.parametrize("body", [b"", b"<html>Bad gateway</html>", b'["no status"]', b"\xff\xfe"])
def test_a_proxys_answer_is_an_error_of_its_status_with_the_text_it_gave(body: bytes) -> None:
    error = answer(502, body=body)
    assert type(error) is errors.Unavailable
    assert error.message == body.decode(errors="replace")


def test_a_page_of_html_is_cut_short() -> None:
    assert len(answer(502, body=b"x" * 100_000).message) == errors.MAX_MESSAGE


def test_the_delay_asked_for_comes_from_the_header_or_from_the_status() -> None:
    assert answer(429, retry_after="7").retry_after == 7
    assert answer(429, body=b'{"code":429,"details":{"retryAfterSeconds":3}}').retry_after == 3
    assert answer(429).retry_after is None
    assert answer(429, retry_after="Wed, 21 Oct 2026 07:28:00 GMT").retry_after is None


def test_the_fields_an_object_was_refused_for_are_kept() -> None:
    body = b'{"code":422,"details":{"causes":[{"field":"spec.x","message":"no","reason":"FieldValueInvalid"}]}}'
    assert [(cause.field, cause.message) for cause in answer(422, body=body).causes] == [("spec.x", "no")]


def test_a_transport_error_without_text_is_named_by_its_type() -> None:
    error = errors.no_answer(ConnectionResetError(), request="GET /x")
    assert str(error) == "GET /x: NoConnection: ConnectionResetError"
    assert errors.no_answer(TimeoutError(), request="GET /x").reason == "Timeout"
