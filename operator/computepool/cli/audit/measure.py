"""Asks a Prometheus what accelerators have done, and what they cost. A server that fails is told, and ends nothing."""

import re
from typing import Final

from computepool.audit.activity import PRICES, Measures, Owners, prices_by_node, queries
from computepool.audit.cluster import Cluster
from computepool.cli.errors import ToldError
from computepool.model.text import printable
from computepool.prometheus.answers import Series
from computepool.prometheus.client import PrometheusClient
from computepool.prometheus.errors import SourceError
from computepool.prometheus.promql import rendered
from computepool.prometheus.query_rules import QueryError
from computepool.prometheus.source import Source

SHORTEST: Final = 300.0
LONGEST: Final = 7 * 86_400.0
TIMEOUT_SECONDS: Final = 30.0
"""For each query, where no configuration says another: a window of days takes long."""
_WINDOW: Final = re.compile(r"([0-9]{1,6})([smhd])")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class WindowError(ToldError):
    """The window of time can't be used."""


def parse_window(text: str) -> float:
    """Read a window such as 1h in seconds. Raises WindowError."""
    found = _WINDOW.fullmatch(text)
    seconds = 0.0 if found is None else float(int(found[1]) * _UNITS[found[2]])
    if not SHORTEST <= seconds <= LONGEST:
        raise WindowError(f"--window {text}: write a time from 5m to 7d, such as 30m, 1h or 2d")
    return seconds


async def measure(cluster: Cluster, source: Source, window: float, at: float | None = None) -> Measures:
    """Ask for the activity in a window and for prices.

    `window`: in seconds. `at`: its end, for a cluster that was saved then; None: now, by the clock of the server.
    One query after another, so that only one answer is in memory, and a server that does not answer is waited for once.
    """
    asked, owners, found = queries(window), Owners(cluster), []
    async with PrometheusClient(source) as client:
        counts = []
        for query in (asked.active, asked.memory, asked.seen):
            series, problem = await _ask(client, source, query, at)
            if problem:
                return Measures(window, problem=problem)
            counts.append(len(series))
            found.append(owners.highest(series))
        prices, no_prices = await _ask(client, source, PRICES, at)
    active, memory, seen = found
    return Measures(window, active, memory, seen, counts[0], prices_by_node(cluster, prices), no_prices=no_prices)


async def _ask(
    client: PrometheusClient, source: Source, query: str, at: float | None
) -> tuple[tuple[Series, ...], str]:
    """Return the series of an answer, or why there is none."""
    try:
        text = rendered(query, enforced=source.enforced_labels)
        if at is None:
            return await client.query(text), ""
        ranges = await client.query_range(text, at, at, 1.0)
    except QueryError as error:
        return (), f"the query can't be sent: {error}"
    except SourceError as error:
        return (), printable(str(error))
    return tuple(Series(found.labels, found.points[-1][1]) for found in ranges if found.points), ""
