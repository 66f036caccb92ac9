"""Queries over HTTP: what is sent, what is read back, and errors that say what to do and never show a credential."""

from __future__ import annotations

import asyncio
import base64
import html
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from computepool.prometheus import client as client_module
from computepool.prometheus.answers import Series, read_answer
from computepool.prometheus.client import PARALLEL, TURN, PrometheusClient, read_in_turns
from computepool.prometheus.errors import (
    BadQueryError,
    ConfigError,
    GarbledError,
    RefusedError,
    ServerError,
    SlowError,
    SourceError,
    UnreachableError,
)
from computepool.prometheus.source import Source
from tests.fakes.prometheus import FakePrometheus, vector
from tests.fakes.tls import certificates
from tests.fakes.waiting import until

SECRET = "s3cret-value"

Scenario = Callable[[FakePrometheus, PrometheusClient], Awaitable[None]]


def play(scenario: Scenario, server: FakePrometheus | None = None, **source: Any) -> None:
    async def run() -> None:
        async with server or FakePrometheus() as running:
            given = {"url": running.url, **source}
            async with PrometheusClient(Source.model_validate(given)) as client:
                await scenario(running, client)

    asyncio.run(run())


def error_of(server: FakePrometheus, **source: Any) -> SourceError:
    """The error of one query."""
    found: list[SourceError] = []

    async def scenario(_server: FakePrometheus, client: PrometheusClient) -> None:
        with pytest.raises(SourceError) as caught:
            await client.query("up")
        found.append(caught.value)

    play(scenario, server, **source)
    return found[0]


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_query_is_a_form_and_its_answer_a_vector() -> None:
    async def scenario(server: FakePrometheus, client: PrometheusClient) -> None:
        server.body = vector(({"pod": "a"}, "1.5"), ({"pod": "b"}, "NaN"), ({}, "+Inf"))
        assert await client.query('up{a="b"}') == (
            Series({"pod": "a"}, 1.5),
            Series({"pod": "b"}, None),
            Series({}, None),
        )
        (request,) = server.requests
        assert (request.path, request.form) == (
            "/api/v1/query",
            {"query": 'up{a="b"}', "timeout": "10s", "dedup": "true"},
        )
        assert request.headers["X-Scope-OrgID"] == "ml"
        assert "Authorization" not in request.headers

    play(scenario, headers={"X-Scope-OrgID": "ml"}, query_parameters={"dedup": "true"})


def test_the_address_may_have_a_path_and_name_the_api() -> None:
    async def run() -> None:
        async with FakePrometheus() as server:
            source = Source(url=f"{server.url}/select/0/prometheus/api/v1/")
            async with PrometheusClient(source) as client:
                await client.query("up")
            assert server.requests[0].path == "/select/0/prometheus/api/v1/query"

    asyncio.run(run())


def test_credentials_are_read_again_when_their_files_change(tmp_path: Path) -> None:
    token = written(tmp_path, "token", "first\n")

    async def scenario(server: FakePrometheus, client: PrometheusClient) -> None:
        await client.query("up")
        # As the kubelet does it: another file takes the place.
        written(tmp_path, "new", "second-token").replace(token)
        await client.query("up")
        assert [request.headers["Authorization"] for request in server.requests] == [
            "Bearer first",
            "Bearer second-token",
        ]

    play(scenario, bearer_token_file=token)


def test_basic_auth_and_secret_headers_are_sent(tmp_path: Path) -> None:
    name, password = written(tmp_path, "name", "reader"), written(tmp_path, "password", "pässword")

    async def scenario(server: FakePrometheus, client: PrometheusClient) -> None:
        await client.query("up")
        scheme, _, encoded = server.requests[0].headers["Authorization"].partition(" ")
        assert (scheme, base64.b64decode(encoded).decode()) == ("Basic", "reader:pässword")
        assert server.requests[0].headers["X-Key"] == SECRET

    play(
        scenario,
        basic_auth={"username_file": name, "password_file": password},
        header_files={"X-Key": written(tmp_path, "key", SECRET)},
    )


@pytest.mark.parametrize("content", ["", "two\nlines", "bell\x07"])
def test_a_secret_that_is_no_line_of_text_is_named_and_not_shown(tmp_path: Path, content: str) -> None:
    error = error_of(FakePrometheus(), bearer_token_file=written(tmp_path, "token", content))
    assert isinstance(error, ConfigError)
    assert "token must contain one line of text" in str(error)
    assert "two" not in str(error)


def test_a_secret_that_is_missing_is_named(tmp_path: Path) -> None:
    error = error_of(FakePrometheus(), bearer_token_file=tmp_path / "token")
    assert isinstance(error, ConfigError)
    assert str(error).endswith("token: No such file or directory")


def test_tls_with_a_client_certificate(tmp_path: Path) -> None:
    made = certificates(tmp_path)
    own = {"cert_file": made.client, "key_file": made.client_key}

    async def scenario(_server: FakePrometheus, client: PrometheusClient) -> None:
        assert await client.query("up")

    play(
        scenario,
        FakePrometheus(tls=made.server_context(client_required=True)),
        ca_file=made.ca,
        client_certificate=own,
    )
    error = error_of(FakePrometheus(tls=made.server_context()))
    assert isinstance(error, UnreachableError)
    assert "certificate" in str(error)


@pytest.mark.parametrize(
    ("status", "kind", "says"),
    [
        (400, BadQueryError, "the server can't run the query (400): parse error"),
        (422, BadQueryError, "the server can't run the query (422)"),
        (401, RefusedError, "refuses the credentials (401): check the Secret"),
        (403, RefusedError, "refuses the credentials (403)"),
        (404, ServerError, "no /api/v1/query at this address (404): check prometheus.url"),
        (302, ServerError, "redirects (302), which is not followed"),
        (429, ServerError, "the server answers 429"),
        (500, ServerError, "the server answers 500"),
        (503, ServerError, "the server answers 503"),
    ],
)
def test_each_refusal_says_what_to_check(status: int, kind: type[SourceError], says: str) -> None:
    error = error_of(FakePrometheus(status=status, body=b"parse error", headers={"Location": "http://127.0.0.1:9/"}))
    assert type(error) is kind
    assert says in str(error)


@pytest.mark.parametrize(
    ("body", "kind", "says"),
    [
        (b"<html>", GarbledError, "this is not an answer of Prometheus"),
        (b"[]", GarbledError, "this is not an answer of Prometheus"),
        (b"", GarbledError, "this is not an answer of Prometheus"),
        (b'{"status":"success"}', BadQueryError, "the query returns a nothing, not a vector"),
        (b'{"status":"error","error":"boom"}', GarbledError, "the server answers error: boom"),
        (b'{"status":"success","data":{"resultType":"scalar","result":[1,"2"]}}', BadQueryError, "returns a scalar"),
        (b'{"status":"success","data":{"resultType":"vector","result":[{"x":1}]}}', GarbledError, "not an answer"),
        (
            b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"x"]}]}}',
            GarbledError,
            "this is not a number of Prometheus: x",
        ),
        (
            b'{"status":"success","warnings":["a store is down"],"data":{"resultType":"vector","result":[]}}',
            GarbledError,
            "the answer may be partial: a store is down",
        ),
        (
            b'{"status":"success","isPartial":true,"data":{"resultType":"vector","result":[]}}',
            GarbledError,
            "the answer may be partial",
        ),
    ],
)
def test_what_is_no_complete_vector_is_no_answer(body: bytes, kind: type[SourceError], says: str) -> None:
    error = error_of(FakePrometheus(body=body))
    assert type(error) is kind
    assert says in str(error)


@pytest.mark.parametrize(
    "said",
    [
        b'"warnings":["PromQL warning: quantile value should be between 0 and 1, got 2 (1:10)"]',
        b'"warnings":["PromQL info: metric might not be a counter (1:6)"]',
        b'"infos":["PromQL info: metric might not be a counter (1:6)"]',
        b'"warnings":null',
    ],
)
def test_a_remark_about_the_query_does_not_make_the_answer_partial(said: bytes) -> None:
    body = vector(({"pod": "s-0"}, "1")).replace(b"{", b"{" + said + b",", 1)

    async def scenario(_server: FakePrometheus, client: PrometheusClient) -> None:
        assert await client.query("up") == (Series({"pod": "s-0"}, 1.0),)

    play(scenario, FakePrometheus(body=body))


def test_a_remark_about_the_query_hides_no_other_warning() -> None:
    warnings = b'{"warnings":["PromQL info: x","a store is down"],'
    error = error_of(FakePrometheus(body=vector().replace(b"{", warnings, 1)))
    assert str(error) == "the answer may be partial: a store is down"


def test_a_sample_of_a_native_histogram_is_no_number() -> None:
    body = b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"histogram":[1,{}]}]}}'

    async def scenario(_server: FakePrometheus, client: PrometheusClient) -> None:
        assert await client.query("up") == (Series({}, None),)

    play(scenario, FakePrometheus(body=body))


def test_a_slow_answer_and_a_missing_server_are_told_apart() -> None:
    error = error_of(FakePrometheus(hold=asyncio.Event()), timeout_seconds=1)
    assert isinstance(error, SlowError)
    assert str(error) == "no answer within 1 s (prometheus.timeoutSeconds)"
    assert isinstance(error_of(FakePrometheus(), url="http://127.0.0.1:9"), UnreachableError)


def test_an_answer_that_is_too_large_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MAX_BYTES", 1000)
    error = error_of(FakePrometheus(body=b" " * 2000))
    assert isinstance(error, GarbledError)
    assert "aggregate the query" in str(error)


def test_other_tasks_have_turns_while_a_large_answer_is_read() -> None:
    async def run() -> None:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        body = vector(*(({"gpu": str(number)}, str(number)) for number in range(5 * TURN)))
        series = await read_in_turns(read_answer(body))
        counting.cancel()
        assert [one.value for one in series] == [float(number) for number in range(5 * TURN)]
        assert turns >= 5

    asyncio.run(run())


def test_no_error_repeats_a_credential(tmp_path: Path) -> None:
    """A server may send back what it was sent."""
    encoded = base64.b64encode(f"reader:{SECRET}".encode()).decode()
    told = f"I got Bearer {SECRET} and Basic {encoded}".encode()
    token, name = written(tmp_path, "token", SECRET), written(tmp_path, "name", "reader")
    ways: list[dict[str, Any]] = [
        {"bearer_token_file": token},
        {"basic_auth": {"username_file": name, "password_file": token}},
        {"header_files": {"X-Key": token}},
    ]
    for way in ways:
        for status in (200, 400, 500):
            body = b'{"status":"error","error":"' + told + b'"}' if status == 200 else told
            error = error_of(FakePrometheus(status=status, body=body), **way)
            assert "***" in str(error)
            hidden = encoded if "basic_auth" in way else SECRET
            assert hidden not in str(error)
            assert (error.__cause__, error.__context__) == (None, None)


@pytest.mark.parametrize("secret", ["a+b/c=d e", 'q"uo<t>e&', "back\\slash's", "s3cret-välue", "x" * 4_000], ids=len)
@pytest.mark.parametrize("before", [0, 250, 290, 70_000])
def test_no_error_repeats_a_form_of_a_credential_or_a_part_of_it(tmp_path: Path, secret: str, before: int) -> None:
    key = written(tmp_path, "key", secret)
    forms = [
        secret,
        base64.b64encode(secret.encode()).decode(),
        base64.urlsafe_b64encode(secret.encode()).decode(),
        quote(secret, safe=""),
        quote_plus(secret),
        quote(secret, safe="").lower(),
        json.dumps(secret),
        repr(secret),
        html.escape(secret),
    ]
    for form in forms:
        body = b"-" * before + form.encode() * 20
        text = str(error_of(FakePrometheus(status=500, body=body), header_files={"X-Key": key}))
        assert form not in text
        kept = text.removeprefix("the server answers 500: ").lstrip("-")
        assert set(kept) <= set("*=\"'…"), text


def test_a_status_line_that_repeats_a_credential_is_not_told(tmp_path: Path) -> None:
    """The HTTP library cuts it in the middle."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"x" * 90 + SECRET.encode() * 2_000 + b"\r\n\r\n")
        writer.close()

    async def run() -> str:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            source = Source.model_validate({"url": url, "bearer_token_file": written(tmp_path, "token", SECRET)})
            async with PrometheusClient(source) as client:
                with pytest.raises(UnreachableError) as caught:
                    await client.query("up")
        return str(caught.value)

    text = asyncio.run(run())
    assert "does not speak HTTP" in text
    assert SECRET[:4] not in text


def test_what_controls_a_terminal_is_not_told() -> None:
    text = str(error_of(FakePrometheus(status=500, body=b"\x1b[2Ja\x00b\nc\xff")))
    assert text == "the server answers 500: [2Ja b c\ufffd"


def test_no_more_queries_than_the_limit_are_under_way() -> None:
    async def scenario(server: FakePrometheus, client: PrometheusClient) -> None:
        server.hold = asyncio.Event()
        queries = [asyncio.create_task(client.query(f"up + {number}")) for number in range(3 * PARALLEL)]
        await until(lambda: server.under_way == PARALLEL, "the first queries arrive")
        server.hold.set()
        await asyncio.gather(*queries)
        assert server.most_under_way == PARALLEL
        assert len(server.requests) == 3 * PARALLEL

    play(scenario)
