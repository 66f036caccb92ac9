"""Queries: a value stays inside its string, enforced labels are on every selector, and what has no safe meaning is
refused by name.
"""

from __future__ import annotations

import re
from decimal import Decimal

import promql_parser as promql
import pytest
from hypothesis import given
from hypothesis import strategies as st

from computepool.prometheus.promql import Names, age_query, rendered, selectors
from computepool.prometheus.query_rules import QueryError, refuse_hidden_calm

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.sampled_from(
    (
        '"',
        '"}',
        '"} or up{x="',
        "\\",
        '\\"',
        "\\\\",
        "'",
        "`",
        "\n",
        "\r\n",
        "\0",
        "$pool",
        "$nodes",
        "$(id)",
        "{{",
        "}",
        ")",
        ".*",
        "a|b",
        "^$",
        "(?i)a",
        "[",
        "\\Q",
        "\\E",
        "#",
        "# x\n",
        "offset 1h",
        '",team="other',
        '"}[5m]) or vector(1) #',
        "\u2028",
        "é",
        "\U0001f600",
        "\\u0022",
    )
)
QUERY = (
    'max by (node) (rate(up{pool="$pool",node=~"$nodes",x!="$provider"}[5m] offset 1m)) '
    '+ on (node) sum_over_time(max(y{ns!~"$namespaces"})[10m:1m]) > 3'
)


def matchers(query: str) -> list[tuple[str, str, str, str]]:
    """Each matcher of a query, as the selector's metric, the label, the operator and the value."""
    return sorted(
        (selector.name or "", matcher.name, str(matcher.op), matcher.value)
        for selector in selectors(query)
        for matcher in selector.matchers.matchers
    )


@given(pool=TEXTS, provider=TEXTS.filter(len), nodes=st.lists(TEXTS, max_size=3), team=TEXTS)
def test_a_value_stays_inside_its_string(pool: str, provider: str, nodes: list[str], team: str) -> None:
    text = rendered(QUERY, Names(pool, provider, tuple(nodes), ("a", "b")), {"team": team})
    options = "|".join(map(re.escape, nodes)) if nodes else r"[^\s\S]"
    assert matchers(text) == sorted(
        [
            ("up", "pool", "MatchOp.Equal", pool),
            ("up", "node", "MatchOp.Re", f"(?:{options})"),
            ("up", "x", "MatchOp.NotEqual", provider),
            ("up", "team", "MatchOp.Equal", team),
            ("y", "ns", "MatchOp.NotRe", "(?:a|b)"),
            ("y", "team", "MatchOp.Equal", team),
        ]
    )


@given(nodes=st.lists(TEXTS, min_size=1, max_size=3), other=TEXTS)
def test_a_list_selects_its_names_and_no_others(nodes: list[str], other: str) -> None:
    (selector,) = selectors(rendered('up{node=~"$nodes"}', Names(nodes=tuple(nodes))))
    pattern = re.compile(selector.matchers.matchers[0].value, re.DOTALL)
    assert all(pattern.fullmatch(node) for node in nodes)
    assert bool(pattern.fullmatch(other)) == (other in nodes)


def test_an_empty_list_selects_nothing() -> None:
    (selector,) = selectors(rendered('up{node=~"$nodes"}'))
    pattern = re.compile(selector.matchers.matchers[0].value)
    assert not any(map(pattern.fullmatch, ("", "a", "\n")))


def test_a_name_inside_a_regular_expression_is_taken_literally() -> None:
    (selector,) = selectors(rendered('up{pod=~"$pool-[0-9]+"}', Names(pool="a.b")))
    assert selector.matchers.matchers[0].value == r"(?:a\.b)-[0-9]+"


def test_an_enforced_label_narrows_what_the_query_asks_for() -> None:
    text = rendered('up{team="other"}', enforced={"team": "ml"})
    assert matchers(text) == [("up", "team", "MatchOp.Equal", "ml"), ("up", "team", "MatchOp.Equal", "other")]


@pytest.mark.parametrize(
    "query",
    [
        "up",
        'sum by (node) (up{a="b"}) / on (node) group_left () count by (node) (x)',
        "histogram_quantile(0.95, sum by (le, pod) (rate(t_bucket[2m])))",
        "(a - b) - (c - d)",
        "-x ^ 2",
        "x > bool 3 and y unless z",
        "topk(3, x)",
        '{__name__="a b"}',
        "x or 0 * y",
        "count(x) - on () group_left () count(y)",
        "time() - x",
        "x # the rest",
    ],
)
def test_a_query_without_placeholders_keeps_its_meaning(query: str) -> None:
    assert rendered(query) == promql.parse(query).prettify()


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("up{", "this is not PromQL"),
        ("up{a=$pool}", "this is not PromQL"),
        ("$pool", "this is not PromQL"),
        ("up{a=`$pool`}", "backticks"),
        ('up{a="$node"}', "unknown placeholder $node"),
        ('up{a="$nodes"}', "$nodes stands for several names"),
        ('up{a!="$namespaces"}', "$namespaces stands for several names"),
        ("1", "must be a vector"),
        ('"a"', "must be a vector"),
        ("up[5m]", "must be a vector"),
        ("up[5m:1m]", "must be a vector"),
        ("up @ 12", "`@` reads a fixed time"),
        ("max_over_time(up[5m:1m] @ end())", "`@` reads a fixed time"),
        ("up offset -5m", "negative `offset`"),
        ("info(up)", "info() reads series that no selector names"),
        ('up{a="b" or c="d"}', "`or` between labels"),
        ("time()", "must be a vector"),
        ("-(1 + time())", "must be a vector"),
        ("vector(1)", "vector() gives a value where there is no series"),
        ("up or vector(0)", "vector() gives a value where there is no series"),
        ("sum(up) or (hour() > bool 5)", "hour() gives a value where there is no series"),
        ("absent(up)", "absent() turns missing data into a value"),
        ("up or absent_over_time(up[5m])", "absent_over_time() turns missing data into a value"),
        ("up > bool scalar(x)", "scalar() turns missing data into NaN"),
        ("up + on (node) fill (0) x", "fill() invents a value"),
        ('{node="a"}', "each selector must name its metrics"),
        ('{__name__=~"a.*"}', "each selector must name its metrics"),
        ('{__name__!="a",node="b"}', "each selector must name its metrics"),
        ('label_replace(up, "team", "$pool", "", "")', "$pool is filled in only where a label is compared"),
        ('count_values("$nodes", up)', "$nodes is filled in only where a label is compared"),
    ],
)
def test_what_has_no_safe_meaning_is_refused(query: str, says: str) -> None:
    with pytest.raises(QueryError, match=re.escape(says)):
        rendered(query, Names(pool="p", nodes=("n",)))


@pytest.mark.parametrize("query", ['up{node=~"($pool{200}){200}"}', 'up{node=~"$nodes|$nodes|$nodes"}'])
def test_what_is_too_large_when_it_is_filled_in_is_refused(query: str) -> None:
    nodes = tuple(f"{number:063d}" for number in range(5_000))
    with pytest.raises(QueryError):
        rendered(query, Names(pool="inference", nodes=nodes))


@pytest.mark.parametrize(
    "query",
    [
        "(" * 2_000 + "x" + ")" * 2_000,
        "-" * 4_000 + "x",
        "+".join("x" * 2_000),
        "x" + " or x" * 800,
        "x" + "^x" * 2_000,
    ],
    ids=lambda query: query[:4],
)
def test_a_query_that_would_take_minutes_to_read_is_refused(query: str) -> None:
    with pytest.raises(QueryError, match="more than 100 operators and brackets"):
        rendered(query)


def test_operators_in_strings_and_matchers_do_not_count() -> None:
    assert rendered('x{a="' + "(" * 500 + '",' + ",".join(f'b{i}!="1"' for i in range(150)) + "} # " + "+" * 500)


def test_the_age_of_a_query_is_that_of_its_oldest_samples() -> None:
    assert age_query('rate(x{a="b"}[5m]) / on (node) y offset 3m + y', ("node", "gpu")) == (
        "max by (node, gpu) ("
        'label_replace(time() - timestamp(x{a="b"}), "__selector", "0", "", "") or '
        'label_replace(time() - timestamp(y{}), "__selector", "1", "", ""))'
    )


def test_the_age_of_metrics_in_a_list_is_asked_of_each_by_itself() -> None:
    ages = age_query('max by (node) ({__name__=~"(?:a|b)",x="y"}) + {__name__="c d"}', ("node",))
    assert re.findall(r"timestamp\((.*?)\)", ages) == ['a{x="y"}', 'b{x="y"}', '{__name__="c d"}']


@pytest.mark.parametrize(
    "query",
    [
        'label_replace(x, "node", "$1", "instance", "(.*):.*")',
        'sum by (node) (label_join(x, "node", "-", "rack", "slot"))',
        "x * on (instance) group_left (node) node_of",
        'count_values("node", x)',
    ],
)
def test_the_age_is_of_no_label_that_the_query_makes(query: str) -> None:
    assert age_query(query, ("node", "gpu")).startswith("max by (gpu) (")


@pytest.mark.parametrize(
    ("query", "exit_at", "rises"),
    [
        ("x > 5", "1", True),
        ("(x) > 0", "1", True),
        ("5 < x", "1", True),
        ("x < 5", "9", False),
        ("-(x != 1)", "1", True),
        ("x > y", "1", True),
        ("sum by (node) (x > 5)", "1", True),
        ("count(x > 0)", "1", True),
        ("count(x >= 0)", "1", True),
        ("x and on (node) y > 5", "1", True),
    ],
)
def test_a_query_that_leaves_out_what_is_calm_is_refused(query: str, exit_at: str, rises: bool) -> None:
    with pytest.raises(QueryError, match="leaves out the calm series"):
        refuse_hidden_calm(query, Decimal(exit_at), rises=rises)


@pytest.mark.parametrize(
    ("query", "exit_at", "rises"),
    [
        ("x", "1", True),
        ("x > bool 5", "0", True),
        ("sum(x > bool 5)", "1", True),
        ("x >= 0", "1", True),
        ("0 <= x", "1", True),
        ("x <= 100", "80", True),
        ("x > 0", "50", False),
        ("count(up == 1)", "1", False),
        ("a / (b > 0)", "1", True),
        ("x > 5 or x", "1", True),
        ("x > -(5)", "-1", True),
    ],
)
def test_a_comparison_that_keeps_what_is_calm_is_sent(query: str, exit_at: str, rises: bool) -> None:
    refuse_hidden_calm(query, Decimal(exit_at), rises=rises)


@given(team=TEXTS)
def test_the_age_is_asked_of_the_same_series(team: str) -> None:
    asked = rendered("rate(x[5m]) + y", enforced={"team": team})
    assert matchers(age_query(asked, ("node",))) == matchers(asked)
