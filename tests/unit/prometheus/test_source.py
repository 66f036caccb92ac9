"""The configuration of the source is read strictly: each error names the field, and shows no value."""

from __future__ import annotations

from pathlib import Path

import pytest

from computepool.prometheus.errors import ConfigError
from computepool.prometheus.source import Source, load_source


def loaded(folder: Path, text: str) -> Source:
    path = folder / "prometheus.yaml"
    path.write_text(text)
    return load_source(path)


def test_every_field_is_read(tmp_path: Path) -> None:
    found = loaded(
        tmp_path,
        """
        url: https://prometheus.monitoring:9090/
        bearerTokenFile: /secrets/token
        caFile: /secrets/ca.crt
        clientCertificate: {certFile: /secrets/tls.crt, keyFile: /secrets/tls.key}
        headers: {X-Scope-OrgID: ml}
        headerFiles: {X-Key: /secrets/key}
        queryParameters: {dedup: "true"}
        enforcedLabels: {team: ml}
        timeoutSeconds: 5
        intervalSeconds: 30
        """,
    )
    assert found.url == "https://prometheus.monitoring:9090"
    assert (found.timeout_seconds, found.interval_seconds, found.enforced_labels) == (5.0, 30.0, {"team": "ml"})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the file: Input should be a valid dictionary"),
        ("url: [hunter2", "this is not YAML at line 1, column 14"),
        ("url: http://p\nheaders:\n  a: b: hunter2", "this is not YAML at line 3, column 7"),
        ("url: *hunter2", "this is not YAML at line 1, column 6"),
        ("url: !hunter2 x", "this is not YAML at line 1, column 6"),
        ("url: hunter2\0", "this is not YAML"),
        ("url: 2026-13-45", "this is not YAML"),
        ("[" * 20_000, "this is not YAML"),
        ("headers: {}", "url: Field required"),
        ("url: prometheus:9090", "url: Value error, give the address with its scheme"),
        ("url: http://reader:hunter2@p:9090", "url: Value error, the address must not contain a name or a password"),
        ("url: http://:9090", "url: Value error, give the address with its scheme and host"),
        ("url: http:///hunter2", "url: Value error, give the address with its scheme and host"),
        ("url: http://p:hunter2", "url: Value error, give the address with its scheme and host"),
        ("url: http://p:99999", "url: Value error, give the address with its scheme and host"),
        ("url: 'http://reader:hunter2@p\u2100'", "url: Value error, give the address with its scheme and host"),
        ("url: 'http://[hunter2'", "url: Value error, give the address with its scheme and host"),
        ('url: "http://p\\nx: hunter2"', "url: Value error, give the address with its scheme and host"),
        ("url: file:///hunter2", "url: Value error, give the address with its scheme and host"),
        ("url: http://p:9090?dedup=true", "url: Value error, the address must not contain parameters"),
        ("{url: http://p, token: hunter2}", "token: Extra inputs are not permitted"),
        ("{url: http://p, timeoutSeconds: 0}", "timeoutSeconds: Input should be greater than or equal to 1"),
        ("{url: http://p, queryParameters: {time: '1'}}", "the operator sets time itself"),
        ("{url: http://p, headers: {'a b': c}}", "headers.a b.[key]: String should match pattern"),
        ('{url: http://p, headers: {X-A: "hunter2\\r\\nX-B: c"}}', "headers.X-A: String should match pattern"),
        ("{url: http://p, headers: {Transfer-Encoding: chunked}}", "sets the header transfer-encoding itself"),
        ("{url: http://p, headerFiles: {content-length: /f}}", "sets the header content-length itself"),
        ("{url: http://p, queryParameters: {'': hunter2}}", "queryParameters..[key]: String should match pattern"),
        ("{url: http://p, enforcedLabels: {__name__: up}}", "__name__ is the metric"),
        ("{url: http://p, enforcedLabels: {a-b: c}}", "enforcedLabels.a-b.[key]: String should match pattern"),
        ("{url: http://p, bearerTokenFile: /t, headers: {authorization: hunter2}}", "more than one authorization"),
        ("{url: http://p, headers: {X-A: hunter2}, headerFiles: {x-a: /f}}", "a header is given twice"),
    ],
)
def test_an_error_names_the_field_and_shows_no_value(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    assert says in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "prometheus.yaml"
    path.write_bytes(b"url: \xff")
    with pytest.raises(ConfigError, match="byte 5 is not UTF-8"):
        load_source(path)


@pytest.mark.parametrize("url", ["http://p", "https://[::1]:9090/prometheus", "http://10.0.0.1:80/", "http://a_b.c"])
def test_an_address_of_any_form_is_read(tmp_path: Path, url: str) -> None:
    assert loaded(tmp_path, f"url: '{url}'").url == url.rstrip("/")


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"can't read .*prometheus\.yaml"):
        load_source(tmp_path / "prometheus.yaml")
