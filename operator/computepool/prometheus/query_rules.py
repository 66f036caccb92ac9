"""Rules for queries. A query is refused if servers read it in different ways, or if it would turn missing data into a
value.

Missing data is Unknown, so no query may invent a value. Each refusal says what to write instead.
"""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Final

import promql_parser as promql

LISTS: Final = ("nodes", "namespaces")
"""Placeholders that stand for several names: `$nodes` and `$namespaces`."""
PLACEHOLDERS: Final = ("pool", "provider", *LISTS)
METRIC: Final = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*")
NAME: Final = "__name__"
_PLACEHOLDER: Final = re.compile(rf"\$({'|'.join(PLACEHOLDERS)})\b")
_STRINGS: Final = re.compile(r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\#[^\n]*)""", re.DOTALL)
"""Strings and comments."""
_MATCHERS: Final = re.compile(r"\{[^{}]*\}")
_PARTS: Final = re.compile(r"\(|[-+*/%^]|[=!<>]=|[<>]|\b(?:and|or|unless|atan2)\b")
MAX_PARTS: Final = 100
"""Most operators and brackets of a query: the time to read a query grows with the third power of their number."""
_ALTERNATION: Final = re.compile(r"(?:\(\?:|\()?([A-Za-z0-9_:|]+)\)?")
_ABSENCE: Final = ("absent", "absent_over_time")
_COMPARISONS: Final[dict[str, Callable[[Decimal, Decimal], bool]]] = {
    ">": lambda value, bound: value > bound,
    "<": lambda value, bound: value < bound,
    ">=": lambda value, bound: value >= bound,
    "<=": lambda value, bound: value <= bound,
    "==": lambda value, bound: value == bound,
    "!=": lambda value, bound: value != bound,
}
_MIRRORED: Final = {">": "<", "<": ">", ">=": "<=", "<=": ">=", "==": "==", "!=": "!="}


class QueryError(ValueError):
    """A query that can't be sent. The message says what to change."""


def parsed(query: str) -> promql.Expr:
    """Parse a query; refuse a query that breaks a rule, or that has no vector of now as its answer.

    Raises QueryError.
    """
    code = _STRINGS.sub("", query)
    if len(_PARTS.findall(_MATCHERS.sub("", code))) > MAX_PARTS:
        raise QueryError(
            f"it has more than {MAX_PARTS} operators and brackets: give a part of it to Prometheus as a recording rule"
        )
    if "`" in code:
        raise QueryError("servers read strings in backticks in different ways: write them in double quotes")
    try:
        tree = promql.parse(query)
    except ValueError as error:
        raise QueryError(f"this is not PromQL: {error}") from error
    promql.walk(tree, _refuse)
    if isinstance(tree, promql.MatrixSelector | promql.SubqueryExpr) or _is_number(tree):
        raise QueryError("the answer of a query must be a vector: one value for each series, at this moment")
    return tree


def selectors_in(tree: promql.Expr) -> tuple[promql.VectorSelector, ...]:
    """Return every selector of a query, also the selectors of ranges."""
    found: list[promql.VectorSelector] = []

    def note(node: promql.Expr) -> None:
        if isinstance(node, promql.VectorSelector):
            found.append(node)

    promql.walk(tree, note)
    return tuple(found)


def metrics_of(selector: promql.VectorSelector) -> tuple[str, ...]:
    """Return the names of the metrics that a selector reads; empty if it does not list them."""
    if selector.name is not None:
        return (selector.name,)
    for matcher in selector.matchers.matchers:
        if matcher.name != NAME or not matcher.value:
            continue
        if str(matcher.op) == "MatchOp.Equal":
            return (matcher.value,)
        alternation = _ALTERNATION.fullmatch(matcher.value)
        if str(matcher.op) == "MatchOp.Re" and alternation is not None:
            names = tuple(dict.fromkeys(alternation[1].split("|")))
            return names if all(map(METRIC.fullmatch, names)) else ()
    return ()


def refuse_hidden_calm(query: str, exit_at: Decimal, *, rises: bool) -> None:
    """Refuse a query that leaves out the very series that are calm, so that its signal could never turn off.

    `exit_at`: the value at which the signal turns off. `rises`: whether high values turn it on. Raises QueryError.
    """
    calm = {exit_at, Decimal(0)} if rises and exit_at > 0 else {exit_at}
    _refuse_filter(parsed(query), calm, rises=rises)


def _refuse_filter(node: promql.Expr, calm: set[Decimal], *, rises: bool) -> None:
    if isinstance(node, promql.ParenExpr | promql.UnaryExpr):
        _refuse_filter(node.expr, calm, rises=rises)
    elif isinstance(node, promql.AggregateExpr):
        # A count of nothing is absent too, and never 0.
        counts = rises and str(node.op) in ("count", "count_values")
        _refuse_filter(node.expr, set() if counts else calm, rises=rises)
    elif isinstance(node, promql.BinaryExpr):
        if str(node.op) in ("and", "or"):
            for side in (node.lhs, node.rhs) if str(node.op) == "and" else ():
                _refuse_filter(side, calm, rises=rises)
        elif str(node.op) in _COMPARISONS and not _is_bool(node) and not _keeps(node, calm):
            raise QueryError(
                f"`{node.op}` leaves out the calm series, which are then missing and not 0: remove the comparison and "
                "use enter and exit; to count series, write sum(... > bool 5)"
            )


def _keeps(node: promql.BinaryExpr, calm: set[Decimal]) -> bool:
    """Say whether a comparison keeps values that are calm. A comparison with other series may leave out any value."""
    number, op = _number(node.rhs), str(node.op)
    if number is None:
        number, op = _number(node.lhs), _MIRRORED[op]
    return number is not None and bool(calm) and all(_COMPARISONS[op](value, number) for value in calm)


def _number(node: promql.Expr) -> Decimal | None:
    if isinstance(node, promql.ParenExpr):
        return _number(node.expr)
    if isinstance(node, promql.UnaryExpr):
        number = _number(node.expr)
        return None if number is None else -number
    return Decimal(node.val) if isinstance(node, promql.NumberLiteral) else None


def _is_bool(node: promql.BinaryExpr) -> bool:
    return node.modifier is not None and node.modifier.return_bool


def _is_number(node: promql.Expr) -> bool:
    """Say whether an expression is one number, or a text, and no vector."""
    if isinstance(node, promql.ParenExpr | promql.UnaryExpr):
        return _is_number(node.expr)
    if isinstance(node, promql.BinaryExpr):
        return _is_number(node.lhs) and _is_number(node.rhs)
    if isinstance(node, promql.Call):
        return bool(node.func.return_type == promql.ValueType.Scalar)
    return isinstance(node, promql.NumberLiteral | promql.StringLiteral)


def _refuse(node: promql.Expr) -> None:
    """Raise QueryError for a part that has no safe meaning here."""
    if isinstance(node, promql.Call):
        _refuse_call(node)
    elif isinstance(node, promql.BinaryExpr):
        filled = None if node.modifier is None else node.modifier.fill_values
        if filled is not None and (filled.lhs, filled.rhs) != (None, None):
            raise QueryError("fill() invents a value for missing data, which is Unknown: remove it")
    elif isinstance(node, promql.StringLiteral):
        if found := _PLACEHOLDER.search(node.val):
            raise QueryError(f'{found[0]} is filled in only where a label is compared, such as {{pool="$pool"}}')
    elif isinstance(node, promql.SubqueryExpr | promql.VectorSelector):
        if node.at is not None:
            raise QueryError("`@` reads a fixed time, and a signal is about now: remove it")
        if node.offset is not None and node.offset.total_seconds() < 0:
            raise QueryError("a negative `offset` reads the future: remove it")
    if isinstance(node, promql.VectorSelector):
        _refuse_selector(node)


def _refuse_call(call: promql.Call) -> None:
    name = call.func.name
    if name == "info":
        raise QueryError("info() reads series that no selector names: join them with `* on (...) group_left (...)`")
    if name in _ABSENCE:
        raise QueryError(
            f"{name}() turns missing data into a value, and missing data is Unknown: remove it; coveragePercent says "
            "how much may be missing"
        )
    if name == "scalar":
        raise QueryError(
            "scalar() turns missing data into NaN, which `> bool` turns into 0: join with `* on () group_left ()`"
        )
    if call.func.return_type == promql.ValueType.Vector and not selectors_in(call):
        raise QueryError(f"{name}() gives a value where there is no series, and missing data is Unknown: remove it")


def _refuse_selector(selector: promql.VectorSelector) -> None:
    if selector.matchers.or_matchers:
        raise QueryError("`or` between labels is not PromQL: join two selectors with `or`")
    if not metrics_of(selector):
        # The age of the samples can't be asked of metrics whose names are not known: they lose their names then, and
        # those with equal labels become duplicates.
        raise QueryError(
            'each selector must name its metrics, such as up, or {__name__=~"a|b"} without other regular expressions'
        )
