"""Sorts the series of an answer by node, pod or pool, once for each answer, so that passes stay quick."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import msgspec

from computepool.model.presets import Reads, Scope
from computepool.model.signals import Answer, Samples
from computepool.prometheus.answers import Labels, Series

NO_NUMBER = "not a number"
IMPOSSIBLE = "a value that this measure can't have"
UNKNOWN_NODE = "no label names a node of the cluster"
NO_POD = "no labels name a pod"
NO_AGE = "the age of its samples is not known"


class Known(Protocol):
    """What is known of the cluster."""

    def is_node(self, name: str) -> bool:
        """Say whether the cluster has a node of this name."""


def labels_of(reads: Reads) -> tuple[str, ...]:
    """Return the labels that may say what a series belongs to."""
    pods = [label for pair in reads.pod_labels for label in pair]
    return tuple(dict.fromkeys((*reads.node_labels, *pods)))


class Sorted(msgspec.Struct, frozen=True):
    """One series of an answer."""

    series: Series
    owner: str
    """The node, or the pod as `namespace/name`; empty for the whole pool, and where no label names any."""
    age: float | None
    """Age of the owner's oldest sample in seconds, by the clock of the source; None if it is not known."""
    problem: str
    """Why the series does not count; empty if it does."""


def sort_series(reads: Reads, values: Iterable[Series], ages: Iterable[Series], known: Known) -> Iterator[Sorted]:
    """Say what each series of an answer belongs to, and why it does not count.

    `ages`: the answer to the query for the age of the samples, in seconds.
    """
    owner_of, missing = _owner_of(reads, known)
    oldest: dict[str, float] = {}
    shared: float | None = None
    for series in ages:
        if series.value is None:
            continue
        owner = owner_of(series.labels)
        if owner is not None:
            oldest[owner] = max(series.value, oldest.get(owner, series.value))
        elif not _names_owner(reads, series.labels):
            # Samples of no node or pod, such as the other side of a join, may be part of every value.
            shared = series.value if shared is None else max(series.value, shared)
    for series in values:
        owner = owner_of(series.labels)
        age = None if owner is None else _older(oldest.get(owner), shared)
        problem = missing if owner is None else _problem(reads, series.value) or ("" if age is not None else NO_AGE)
        yield Sorted(series, owner or "", age, problem)


class Collected:
    """The series of an answer, put together by node, pod or pool as they come."""

    def __init__(self, reads: Reads) -> None:
        """Begin without any."""
        self._reads = reads
        self._values: defaultdict[str, list[float]] = defaultdict(list)
        self._ages: dict[str, float] = {}

    def add(self, series: Iterable[Sorted]) -> None:
        """Add series."""
        for one in series:
            if not one.problem and one.series.value is not None and one.age is not None:
                self._values[one.owner].append(one.series.value)
                self._ages[one.owner] = one.age

    def answer(self, at: float) -> Answer:
        """Return the answer. `at`: when it came, in seconds since the epoch."""
        samples = {owner: Samples(tuple(numbers), self._ages[owner]) for owner, numbers in self._values.items()}
        match self._reads.scope:
            case Scope.NODE:
                return Answer(at, nodes=samples)
            case Scope.POD:
                return Answer(at, pods=samples)
            case Scope.POOL:
                return Answer(at, whole=samples.get(_WHOLE))


def _older(age: float | None, other: float | None) -> float | None:
    return max((known for known in (age, other) if known is not None), default=None)


def _names_owner(reads: Reads, labels: Labels) -> bool:
    """Say whether the labels name a node or a pod at all, be it known or not."""
    if reads.scope is Scope.POD:
        return _pod(labels, reads.pod_labels) is not None
    return any(labels.get(label) for label in reads.node_labels)


def answer_of(reads: Reads, series: Iterable[Sorted], at: float) -> Answer:
    """Put all series of an answer together. `at`: when it came, in seconds since the epoch."""
    collected = Collected(reads)
    collected.add(series)
    return collected.answer(at)


_WHOLE = ""
Owner = Callable[[Labels], str | None]


def _owner_of(reads: Reads, known: Known) -> tuple[Owner, str]:
    """Return a function that says what a series belongs to, and the problem of a series that belongs to nothing."""
    match reads.scope:
        case Scope.NODE:
            return lambda labels: node_named(labels, reads.node_labels, known.is_node), UNKNOWN_NODE
        case Scope.POD:
            return lambda labels: _pod(labels, reads.pod_labels), NO_POD
        case Scope.POOL:
            return lambda _labels: _WHOLE, ""


def node_named(labels: Labels, candidates: Sequence[str], is_node: Callable[[str], bool]) -> str | None:
    """Return the node that labels name. `candidates`: labels that may name it, the surest first."""
    for label in candidates:
        value = labels.get(label, "")
        # The label `instance` is a host with a port.
        for name in (value, value.rpartition(":")[0]):
            if name and is_node(name):
                return name
    return None


def _pod(labels: Labels, candidates: Sequence[tuple[str, str]]) -> str | None:
    for namespace, pod in candidates:
        if labels.get(namespace) and labels.get(pod):
            return f"{labels[namespace]}/{labels[pod]}"
    return None


def _problem(reads: Reads, value: float | None) -> str:
    if value is None:
        return NO_NUMBER
    too_low = reads.lowest is not None and value < reads.lowest
    return IMPOSSIBLE if too_low or (reads.highest is not None and value > reads.highest) else ""
