"""Names, labels, queries, headers and parameters that are made to break out: each is harmless on a real Prometheus, or
refused by name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

import msgspec
import pytest
from pydantic import ValidationError

from computepool.prometheus.client import PrometheusClient
from computepool.prometheus.errors import SourceError
from computepool.prometheus.promql import NO_LABELS, NO_NAMES, Names, rendered
from computepool.prometheus.query_rules import QueryError
from computepool.prometheus.source import Source
from e2e import chart
from e2e.cluster import Cluster
from e2e.exporter import Exporter
from e2e.kubeapi import ApiError
from e2e.pools import POOLS
from e2e.prometheus import Prometheus, Target
from tests.manifests import catalog

Json = dict[str, Any]

OWN, OTHER = "ml", "other"
LONG = "x" * 4_000
VALUES = (
    "plain",
    '"',
    "'",
    "`",
    "\\",
    "\\\\",
    '\\"',
    "\n",
    "\r\n\t",
    '"}',
    '"} or target{v=~".*',
    '"}) or vector(1) #',
    '",team="other',
    "# a comment",
    "#\n",
    ".*",
    "plain|decoy",
    "(?i)PLAIN",
    "^plain$",
    "[^x]",
    "\\Qplain\\E",
    "plain)|(?:decoy",
    "$nodes",
    "$pool",
    "$$",
    "${v}",
    "{{ $labels.v }}",
    "%s%n",
    "\x1b[2J",
    "\u202edecoy",
    "é",
    "e\u0301",
    "\U0001f600",
    "\u2028",
    " plain ",
    LONG,
)
"""Values of labels. Each is the value of a series beside all others, so that a value that breaks out returns others."""
SERIES: Mapping[str, str] = {"decoy": OWN, **dict.fromkeys(VALUES, OWN)}


def escaped(value: str) -> str:
    """A label's value in the text that exporters serve."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """It has a series `target` of our team for each value, and a series of another team that no query may return."""
    lines = [f'target{{v="{escaped(value)}",team="{team}"}} 1\n' for value, team in SERIES.items()]
    lines += [f'target{{v="secret",team="{OTHER}"}} 1\n', f'forbidden{{v="secret",team="{OTHER}"}} 1\n']
    with Exporter() as exporter, Prometheus(tmp_path_factory.mktemp("hostile"), exporter) as running:
        exporter.serve("all", "".join(lines))
        running.watch([Target("all")])
        running.wait_for("target", len(SERIES) + 1)
        yield running


def found(prometheus: Prometheus, query: str, **source: Any) -> list[str]:
    """The values of the label `v` of the series that come back."""

    async def run() -> list[str]:
        async with PrometheusClient(Source.model_validate({"url": prometheus.url, **source})) as client:
            return sorted(series.labels.get("v", "") for series in await client.query(query))

    values = asyncio.run(run())
    if not values:
        # On a busy machine a scrape may end too late, and all series are missing until the next.
        prometheus.wait_for("target", len(SERIES) + 1)
        values = asyncio.run(run())
    return values


def outcome(
    prometheus: Prometheus, query: str, names: Names = NO_NAMES, enforced: Mapping[str, str] = NO_LABELS
) -> list[str] | str:
    """What is found, or why the query is refused."""
    try:
        query = rendered(query, names, enforced)
    except QueryError as error:
        return str(error)
    return found(prometheus, query)


# -- values that are filled in


@pytest.mark.parametrize("value", VALUES, ids=lambda value: ascii(value)[:30])
def test_a_value_selects_the_series_of_that_literal_value_and_no_other(prometheus: Prometheus, value: str) -> None:
    assert found(prometheus, rendered('target{v="$pool"}', Names(pool=value))) == [value]
    assert found(prometheus, rendered('target{v=~"$pool"}', Names(pool=value))) == [value]
    assert found(prometheus, rendered('target{v=~"$nodes"}', Names(nodes=(value, "gone")))) == [value]
    others = rendered('target{v!~"$namespaces"}', Names(namespaces=(value,)), {"team": OWN})
    assert found(prometheus, others) == sorted(set(SERIES) - {value})
    # As an enforced label it narrows what the query asks for.
    assert found(prometheus, rendered("target", enforced={"v": value})) == [value]
    assert found(prometheus, rendered('target{v="decoy"}', enforced={"v": value})) == []
    # Written by a user as a string of PromQL.
    written = msgspec.json.encode(value).decode()
    if "$" not in value:
        assert found(prometheus, rendered(f"target{{v={written}}}")) == [value]


@pytest.mark.parametrize("value", ["a\0b", "\ud800", "\udfff\ud800"], ids=ascii)
def test_a_value_that_no_series_can_have_selects_nothing_or_is_refused(prometheus: Prometheus, value: str) -> None:
    literal = outcome(prometheus, 'target{v=~"$pool|decoy"}', Names(pool=value))
    assert literal == ["decoy"] or "it can't be filled in" in literal
    enforced = outcome(prometheus, "target", enforced={"v": value})
    assert enforced == [] or "it can't be filled in" in enforced


# -- queries that try to read another team's series, or to invent some


@pytest.mark.parametrize(
    "query",
    [
        f'target{{team="{OTHER}"}}',
        'target{team=~".*"}',
        f'target{{team!="{OWN}"}}',
        f'target or target{{team="{OTHER}"}}',
        f'target # "}}\n or target{{team="{OTHER}"}}',
        '{__name__=~"target|forbidden"}',
        '{__name__="forbidden"}',
        f'{{"target","team"="{OTHER}"}}',
        "target + on (v) group_left () forbidden",
        'label_replace(target, "team", "other", "", "")',
        'label_replace(forbidden, "team", "ml", "", "")',
        'count_values by (v) ("team", {__name__=~"target|forbidden"})',
        f'max_over_time(target{{team=~"{OTHER}|{OWN}"}}[1m:1s])',
        "last_over_time(forbidden[1m])",
        f'sum by (v) (rate({{__name__="forbidden",team="{OTHER}"}}[1m]))',
        "topk(100, target or forbidden)",
    ],
)
def test_no_query_reads_series_without_the_enforced_label(prometheus: Prometheus, query: str) -> None:
    names = found(prometheus, rendered(query, enforced={"team": OWN}))
    assert set(names) <= set(SERIES)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ('{team=~".+"}', "must name its metrics"),
        ('{__name__=~".+"}', "must name its metrics"),
        (f'target{{team="{OWN}" or team="{OTHER}"}}', "`or` between labels is not PromQL"),
        ("info(target)", "info() reads series that no selector names"),
        ("target @ 0", "`@` reads a fixed time"),
        ("target offset -1h", "a negative `offset` reads the future"),
        ("target or vector(1)", "vector() gives a value"),
        ("absent(forbidden)", "absent() turns missing data into a value"),
        ("target > bool scalar(forbidden)", "scalar() turns missing data into NaN"),
        ("target + on (v) fill (0) forbidden", "fill() invents a value"),
        ('target{v=~"$provider"}', "$provider has no value"),
        ('target{v="$nodes"}', "$nodes stands for several names"),
        ('target{v="$secret"}', "unknown placeholder $secret"),
        ('label_replace(target, "v", "$pool", "", "")', "$pool is filled in only where a label is compared"),
        ('target{v=~"($pool{200}){200}"}', "it can't be filled in"),
        ("target{v=~`$pool`}", "backticks"),
        ("target{v=$pool}", "this is not PromQL"),
        ("target}) or (target", "this is not PromQL"),
        ("target; drop", "this is not PromQL"),
        ("(" * 2_000 + "target" + ")" * 2_000, "more than 100 operators and brackets"),
    ],
    ids=lambda text: text[:40],
)
def test_what_has_no_safe_meaning_is_refused_by_name(query: str, says: str) -> None:
    with pytest.raises(QueryError) as refused:
        rendered(query, Names(pool="inference"), {"team": OWN})
    assert says in str(refused.value)


# -- headers and parameters


@pytest.mark.parametrize(
    "source",
    [
        {"headers": {"X-A'b": "'\"; a=b, c"}},
        {"headers": {"X-A": "{{ .Values }} $x %0d%0aX-B: c"}},
        {"headers": {"X-A": "é\U0001f600"}},
        {"headers": {"X-A": LONG}},
        {"query_parameters": {"a&query=forbidden": "1"}},
        {"query_parameters": {"a": "1&query=forbidden\r\n\r\nquery=forbidden"}},
        {"query_parameters": {"query[]": "forbidden", "Query": "forbidden", " query": "forbidden"}},
        {"query_parameters": {"é": "\0\n\U0001f600"}},
    ],
    ids=ascii,
)
def test_a_header_or_a_parameter_stays_what_it_is(prometheus: Prometheus, source: Json) -> None:
    assert found(prometheus, 'target{v="decoy"}', **source) == ["decoy"]


def test_a_parameter_that_cuts_the_answer_makes_it_no_answer(prometheus: Prometheus) -> None:
    try:
        names = found(prometheus, "target", query_parameters={"limit": "1"})
    except SourceError as error:
        names = [str(error)]
    # Older versions of Prometheus don't know this parameter.
    whole = sorted([*SERIES, "secret"])
    assert names in (whole, ["the answer may be partial: results truncated due to limit"])


@pytest.mark.parametrize(
    ("source", "field"),
    [
        ({"headers": {"X-A": "1\r\nX-B: 2"}}, "headers.X-A"),
        ({"headers": {"X-A": "1\0"}}, "headers.X-A"),
        ({"headers": {"X-A:b": "1"}}, "headers.X-A:b"),
        ({"headers": {"X-A\r\nB": "1"}}, "headers.X-A\r\nB"),
        ({"headers": {"é": "1"}}, "headers.é"),
        ({"headers": {"Transfer-Encoding": "chunked"}}, "transfer-encoding"),
        ({"headers": {"X-A": LONG * 2}}, "headers.X-A"),
        ({"queryParameters": {"query": "forbidden"}}, "queryParameters"),
        ({"queryParameters": {"a\r\nX-B": "1"}}, "queryParameters"),
        ({"queryParameters": {"a": "\ud800"}}, "queryParameters"),
        ({"enforcedLabels": {'team"} or {x="': "1"}}, "enforcedLabels"),
        ({"enforcedLabels": {"__name__": "forbidden"}}, "enforcedLabels"),
        ({"url": "http://127.0.0.1:9090/api/v1/query?query=forbidden#"}, "url"),
        ({"url": "http://127.0.0.1:9090\r\nX: y"}, "url"),
        ({"url": "http://a@b@127.0.0.1"}, "url"),
    ],
    ids=ascii,
)
def test_a_source_that_breaks_out_is_refused_by_its_field(source: Json, field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Source.model_validate({"url": "http://127.0.0.1", **source})
    told = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in refused.value.errors()]
    assert any(field in text for text in told), told


# -- manifests


@pytest.fixture(scope="module")
def api_server(cluster: Cluster) -> Iterator[Cluster]:
    """The shared cluster with the release, whose definition of pools has the rules."""
    with chart.installed(cluster):
        yield cluster


def pool_with(**metric: Any) -> Json:
    manifest = deepcopy(catalog.load(next(path for path in catalog.good() if path.stem == "signals")))
    known = {"name": "queue", "query": "up", "enter": "5", "exit": "1"}
    manifest["metadata"]["name"] = "hostile"
    manifest["spec"]["saturation"] = {"metrics": [{**known, **metric}]}
    manifest["spec"].pop("health")
    return manifest


@pytest.mark.parametrize(
    ("metric", "field"),
    [
        ({"query": "up{a=$pool}"}, "query"),
        ({"query": "up{a='$pool'}"}, "query"),
        ({"query": "up{a=`b`}"}, "query"),
        ({"query": "up{a='\\'$pool'}"}, "query"),
        ({"query": 'up # "\n + up{a=$pool} # "'}, "query"),
        ({"query": 'up{a="\\"$pool}'}, "query"),
        ({"query": "x" * 4_097}, "query"),
        ({"query": ""}, "query"),
        ({"labels": {"node": 'node"} or vector(1) #'}}, "labels"),
        ({"labels": {"node": "node\n"}}, "labels"),
        ({"labels": {"node": "$nodes"}}, "labels"),
        ({"labels": {"node": "nöde"}}, "labels"),
        ({"labels": {"node": ""}}, "labels"),
        ({"labels": {"node": "n" * 129}}, "labels.node"),
        ({"labels": {"pod": "pod) (", "namespace": "namespace"}}, "labels"),
        ({"labels": {"pod": "pod", "namespace": "namespace\0"}}, "labels"),
        ({"name": 'queue"}'}, "name"),
        ({"name": "queue/provider"}, "name"),
        ({"name": "q\nq"}, "name"),
        ({"enter": "NaN"}, "enter"),
        ({"enter": "Inf"}, "enter"),
        ({"enter": "1e9"}, "enter"),
        ({"enter": "0x10"}, "enter"),
        ({"enter": "1_000"}, "enter"),
        ({"enter": "5\n"}, "enter"),
        ({"enter": "\u0665"}, "enter"),
        ({"exit": "9" * 25}, "exit"),
        ({"exit": '1" || true || "'}, "enter"),
        ({"query": None, "preset": "vllm'"}, "preset"),
        ({"query": None, "preset": "vllm", "measure": "Queue' || true"}, "measure"),
    ],
    ids=ascii,
)
def test_a_manifest_that_breaks_out_is_refused_by_its_field(api_server: Cluster, metric: Json, field: str) -> None:
    manifest = pool_with(**metric)
    path = api_server.api.resource(POOLS).path(None)
    with pytest.raises(ApiError) as refused:
        api_server.api.request("POST", path, manifest, query={"dryRun": "All"})
    assert f"spec.saturation.metrics[0].{field}" in str(refused.value)


@pytest.mark.parametrize("value", [value for value in VALUES if "`" not in value and len(value) < 1_000], ids=ascii)
def test_a_query_with_any_string_is_the_same_after_the_api_server_has_kept_it(
    api_server: Cluster, prometheus: Prometheus, value: str
) -> None:
    query = f"target{{v={msgspec.json.encode(value).decode()}}} # {value if chr(10) not in value else ''}"
    path = api_server.api.resource(POOLS).path(None)
    kept = api_server.api.request("POST", path, pool_with(query=query), query={"dryRun": "All"})
    (metric,) = kept["spec"]["saturation"]["metrics"]
    assert metric["query"] == query
    # Here a placeholder is one: there is no pool, and no such list.
    expected: list[str] | str = [value]
    if value == "$pool":
        expected = []
    elif value == "$nodes":
        expected = "$nodes stands for several names: compare with =~ or !~"
    elif "$labels" in value:
        expected = "unknown placeholder $labels: there are $pool, $provider, $nodes, $namespaces"
    assert outcome(prometheus, query) == expected
