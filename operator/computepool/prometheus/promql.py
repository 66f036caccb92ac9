"""Queries in PromQL: fill in placeholders, force labels onto every selector, ask for the age of the samples.

A query is never put together from pieces of text. It is parsed, changed as a tree and written anew. So a value stays
inside the string that it is filled into, whatever it contains.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import Final

import msgspec
import promql_parser as promql

from computepool.model.api.signals import LABEL_NAME
from computepool.prometheus.query_rules import (
    LISTS,
    METRIC,
    NAME,
    PLACEHOLDERS,
    QueryError,
    metrics_of,
    parsed,
    selectors_in,
)

_PLACEHOLDER: Final = re.compile(r"\$([A-Za-z_]\w*)")
_LABEL: Final = re.compile(LABEL_NAME)
_OPERATORS: Final = {
    "MatchOp.Equal": "=",
    "MatchOp.NotEqual": "!=",
    "MatchOp.Re": "=~",
    "MatchOp.NotRe": "!~",
}
_NOTHING: Final = r"[^\s\S]"
"""A regular expression that no value matches: an empty list selects nothing."""
MAX_QUERY: Final = 1 << 20
_CACHED: Final = 512
MAX_ERROR: Final = 200
_SELECTOR_LABEL: Final = "__selector"


class Names(msgspec.Struct, frozen=True):
    """The values of the placeholders."""

    pool: str = ""
    provider: str = ""
    nodes: tuple[str, ...] = ()
    """Names of the provider's nodes."""
    namespaces: tuple[str, ...] = ()
    """Names of the pool's namespaces."""


NO_NAMES: Final = Names()
NO_LABELS: Final[Mapping[str, str]] = MappingProxyType({})


def rendered(query: str, names: Names = NO_NAMES, enforced: Mapping[str, str] = NO_LABELS) -> str:
    """Return the query with its placeholders filled in, and with the `enforced` labels on every selector.

    Raises QueryError.
    """
    return _rendered(query, names, tuple(sorted(enforced.items())))


@lru_cache(maxsize=_CACHED)
def _rendered(query: str, names: Names, enforced: tuple[tuple[str, str], ...]) -> str:
    # Cached, because the queries of many pools have the same text.
    forced = [(name, "=", value) for name, value in enforced]

    def filled(node: promql.Expr) -> promql.Expr | None:
        if not isinstance(node, promql.VectorSelector):
            return None
        matchers = [(matcher.name, _operator(matcher), _filled(matcher, names)) for matcher in node.matchers.matchers]
        return _selector(node.name, [*matchers, *forced], node.offset)

    try:
        text = str(promql.transform(parsed(query), post_visit=filled).prettify())
        written = selectors(text)
    except QueryError:
        raise
    except ValueError as error:
        # The parser refuses regular expressions that are too large.
        raise QueryError(f"it can't be filled in: {str(error)[:MAX_ERROR]}") from error
    if len(text) > MAX_QUERY:
        raise QueryError(f"with its names filled in it has more than {MAX_QUERY >> 20} MiB: name fewer nodes")
    for selector in written:
        held = {(matcher.name, _operator(matcher), matcher.value) for matcher in selector.matchers.matchers}
        if not held.issuperset(forced):
            raise QueryError("the enforced labels can't be put on this query")
    return text


def selectors(query: str) -> tuple[promql.VectorSelector, ...]:
    """Return every selector of a query, also the selectors of ranges. Raises QueryError."""
    return selectors_in(parsed(query))


@lru_cache(maxsize=_CACHED)
def age_query(query: str, labels: tuple[str, ...]) -> str:
    """Return a query for the age of the oldest samples that the answer of `query` is made of, in seconds.

    Its series have those of the `labels` that come from the samples, and no others: a label that the query itself
    makes or copies is on none of them. The age is by the clock of the server that answers, and does not depend on the
    operator's clock. A negative age is a sample of the future. Raises QueryError.
    """
    tree = parsed(query)
    made = _made_labels(tree)
    # Each metric by itself: timestamp() drops the names, and series with equal labels would be duplicates.
    now = dict.fromkeys(text for selector in selectors_in(tree) for text in _selectors_by_metric(selector))
    # This label tells series of different selectors apart, which `or` would merge.
    ages = [
        f'label_replace(time() - timestamp({selector}), "{_SELECTOR_LABEL}", "{number}", "", "")'
        for number, selector in enumerate(now)
    ]
    return f"max by ({', '.join(label for label in labels if label not in made)}) ({' or '.join(ages)})"


def _made_labels(tree: promql.Expr) -> frozenset[str]:
    """Return the labels that a query makes or copies, so that the series of its selectors may have other values."""
    made: set[str] = set()

    def note(node: promql.Expr) -> None:
        if isinstance(node, promql.Call) and node.func.name in ("label_replace", "label_join"):
            made.update(_texts(node.args[1:2]))
        elif isinstance(node, promql.AggregateExpr) and str(node.op) == "count_values" and node.param is not None:
            made.update(_texts([node.param]))
        elif isinstance(node, promql.BinaryExpr) and node.modifier is not None:
            made.update(node.modifier.group_labels or ())

    promql.walk(tree, note)
    return frozenset(made)


def _texts(nodes: Iterable[promql.Expr]) -> list[str]:
    return [node.val for node in nodes if isinstance(node, promql.StringLiteral)]


def _selectors_by_metric(selector: promql.VectorSelector) -> list[str]:
    others = [match for match in _matchers(selector) if match[0] != NAME or match[1] not in ("=", "=~")]
    return [_selector_text(name, others) for name in metrics_of(selector)]


def _filled(matcher: promql.Matcher, names: Names) -> str:
    """Return the value of a matcher with its placeholders filled in."""
    regex = _operator(matcher) in ("=~", "!~")

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name not in PLACEHOLDERS:
            known = ", ".join(f"${placeholder}" for placeholder in PLACEHOLDERS)
            raise QueryError(f"unknown placeholder ${name}: there are {known}")
        if name in LISTS and not regex:
            raise QueryError(f"${name} stands for several names: compare with =~ or !~")
        filled = getattr(names, name)
        if name == "provider" and not filled:
            raise QueryError("$provider has no value, because the query is about all providers together: remove it")
        if not regex:
            return str(filled)
        options = filled if name in LISTS else (filled,)
        return f"(?:{'|'.join(map(re.escape, options)) if options else _NOTHING})"

    return _PLACEHOLDER.sub(value, matcher.value)


Match = tuple[str, str, str]
"""A label's name, an operator, and a value."""


def _selector(name: str | None, matchers: Iterable[Match], offset: timedelta | None) -> promql.Expr:
    shift = f" offset {promql.display_duration(offset)}" if offset else ""
    return promql.parse(_selector_text(name, matchers) + shift)


def _selector_text(name: str | None, matchers: Iterable[Match]) -> str:
    plain = name is not None and METRIC.fullmatch(name) is not None
    metric = [] if plain or name is None else [(NAME, "=", name)]
    conditions = (f"{_label(label)}{op}{_quoted(value)}" for label, op, value in (*metric, *matchers))
    return f"{name if plain else ''}{{{','.join(conditions)}}}"


def _label(name: str) -> str:
    # Only Prometheus 3 reads names in quotes.
    return name if _LABEL.fullmatch(name) else _quoted(name)


def _matchers(selector: promql.VectorSelector) -> list[Match]:
    return [(matcher.name, _operator(matcher), matcher.value) for matcher in selector.matchers.matchers]


def _operator(matcher: promql.Matcher) -> str:
    return _OPERATORS[str(matcher.op)]


def _quoted(text: str) -> str:
    """Return the text as a string of PromQL, whose escapes are those of Go. JSON's are the same, but for surrogates."""
    return msgspec.json.encode(text).decode()
