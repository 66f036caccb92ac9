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
        ("url: [", "can't read"),
        ("headers: {}", "url: Field required"),
        ("url: prometheus:9090", "url: Value error, give the address with its scheme"),
        ("url: http://reader:hunter2@p:9090", "url: Value error, the address must not contain a name or a password"),
        ("url: http://p:9090?dedup=true", "url: Value error, the address must not contain parameters"),
        ("{url: http://p, token: hunter2}", "token: Extra inputs are not permitted"),
        ("{url: http://p, timeoutSeconds: 0}", "timeoutSeconds: Input should be greater than or equal to 1"),
        ("{url: http://p, queryParameters: {time: '1'}}", "the operator sets time itself"),
        ("{url: http://p, headers: {'a b': c}}", "headers.a b.[key]: String should match pattern"),
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


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"can't read .*prometheus\.yaml"):
        load_source(tmp_path / "prometheus.yaml")
