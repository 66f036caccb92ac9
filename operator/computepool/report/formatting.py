"""Texts about times, counts and lists, shared by conditions, events, logs and commands."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from heapq import nsmallest
from typing import Final

import msgspec

from computepool.model.cluster import Pod

LAST_MOMENT: Final = datetime(9999, 12, 31, tzinfo=UTC).timestamp()
"""No date can be later. A status that was written by hand may hold any number."""
NAMED_PODS: Final = 3
"""How many pods a text names: more would make it long, and would change with every pod."""


def moment(at: float) -> datetime:
    """Return seconds since the epoch as a date, the nearest that exists."""
    return datetime.fromtimestamp(min(max(at, 0.0), LAST_MOMENT), UTC)


def span(seconds: float) -> str:
    """Write a length of time as a person would: `43 s`, `5 min`, `3 h`, `2 d`."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def counted(number: int, noun: str) -> str:
    """Write a number with its noun: `1 pod`, `2 pods`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def about(number: int, noun: str) -> str:
    """Write a number with its first digit alone: `about 9000 pods`, so that the text changes seldom."""
    size = 10 ** (len(str(number)) - 1)
    return counted(number, noun) if size == 1 else f"about {counted(number // size * size, noun)}"


def listed(texts: Sequence[str], most: int) -> str:
    """Write the first `most` texts, and how many more there are: `n1, n2 and 3 more`."""
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


def pod_names(pods: Iterable[Pod]) -> str:
    """Name the first few pods by their names: `default/web-0, default/web-1`."""
    return ", ".join(nsmallest(NAMED_PODS, (f"{pod.namespace}/{pod.name}" for pod in pods)))


def full_stop(text: str) -> str:
    """End a sentence that may lack its end, such as a message of the API server."""
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


class Tally(msgspec.Struct, frozen=True):
    """A note with counts. Tallies of one kind are added up while they wait to be sent, so that no count is lost.

    `3 running pod(s) moved: 1 from nebius to aws, 2 from nebius to crusoe. The pod's provider has failed.`
    """

    words: str
    """The things that are counted: `running pod(s) moved`."""
    counts: Mapping[str, int]
    """By direction: `from nebius to crusoe`."""
    after: str
    """A sentence about all of them."""
    before: str = ""

    def __str__(self) -> str:
        """Write the note."""
        directions = ", ".join(f"{count} {direction}" for direction, count in sorted(self.counts.items()))
        return f"{self.before}{sum(self.counts.values())} {self.words}: {directions}. {self.after}"

    @property
    def kind(self) -> str:
        """All but the counts: tallies of the same kind may be added up."""
        return f"{self.before}{self.words}. {self.after}"

    def plus(self, other: "Tally") -> "Tally":
        """Return the sum of two tallies of the same kind."""
        return msgspec.structs.replace(self, counts=Counter(self.counts) + Counter(other.counts))
