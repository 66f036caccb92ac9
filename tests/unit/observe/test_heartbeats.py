"""The last heartbeat of each node, and which nodes are silent: never for a time when none could be received."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from computepool.assess.health.silence import counted_silence
from computepool.observe.heartbeats import Heartbeats, Lease, read_lease
from tests.builders import NOW

SILENT = 25
ROUNDING = 0.001


@dataclass
class Time:
    """A steady clock and a time of day, that go together unless a test sets one of them."""

    steady: float = 1000.0
    day: float = NOW

    def clock(self) -> float:
        return self.steady

    def wall(self) -> float:
        return self.day


@dataclass
class Listener:
    """Heartbeats of some nodes, with a tick every second unless it is told otherwise."""

    nodes: tuple[str, ...] = ("a", "b", "c")
    seconds: int = 40
    time: Time = field(default_factory=Time)
    beats: Heartbeats = field(init=False)
    renewals: int = 0

    def __post_init__(self) -> None:
        self.beats = Heartbeats(clock=self.time.clock, wall=self.time.wall)
        self.list_all()

    def list_all(self) -> None:
        self.beats.sync_started(self.time.steady)
        self.renew(*self.nodes, again=False)
        self.beats.sync_finished(self.time.steady)
        self.beats.tick(connected=True)

    def renew(self, *names: str, again: bool = True) -> None:
        self.renewals += again and bool(names)
        for name in names:
            lease = Lease(name, self.renewals, f"renewal {self.renewals}", self.seconds)
            self.beats.put(lease, self.time.steady)

    def wait(self, seconds: float, *, connected: bool = True, beating: tuple[str, ...] = ()) -> None:
        """Let time go by in seconds of ticks; the beating nodes do so every ten of them."""
        for passed in range(1, round(seconds) + 1):
            self.time.steady += 1
            self.time.day += 1
            if passed % 10 == 0:
                self.renew(*beating)
            self.beats.tick(connected=connected)

    def pause(self, seconds: float) -> None:
        """Let time go by without a tick, as for a stopped process."""
        self.time.steady += seconds
        self.time.day += seconds

    def changed(self, seconds: int = SILENT) -> tuple[set[str], bool]:
        names, concerns_all = self.beats.changed(seconds)
        return set(names), concerns_all

    @property
    def silent(self) -> set[str]:
        return set(self.beats.silent(SILENT))


# -- reading


def test_a_lease_is_its_node_and_when_it_was_renewed() -> None:
    raw = {
        "metadata": {"name": "n1", "namespace": "kube-node-lease", "resourceVersion": "7", "managedFields": [{}]},
        "spec": {"holderIdentity": "n1", "leaseDurationSeconds": 4, "renewTime": "2026-11-23T05:00:00.123456Z"},
    }
    assert read_lease(msgspec.json.encode(raw)) == Lease("n1", 7, "2026-11-23T05:00:00.123456Z", 4)


def test_a_lease_that_was_never_renewed_is_read_too() -> None:
    assert read_lease(b'{"metadata": {"name": "n1", "resourceVersion": "7"}}') == Lease("n1", 7, "", 40)


@pytest.mark.parametrize("raw", [b"", b"{}", b'{"metadata": {"name": 1}}', b'{"metadata": {"name": "n", "spec": 1}}x'])
def test_what_is_no_lease_is_refused(raw: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, ValueError)):
        read_lease(raw)


# -- heartbeats


def test_a_node_without_a_heartbeat_for_so_long_is_silent_while_others_beat() -> None:
    listener = Listener()
    listener.wait(SILENT - 1, beating=("a", "b"))
    assert listener.silent == set()
    listener.wait(1)
    assert listener.silent == {"c"}
    listener.renew("c")
    assert listener.silent == set()


def test_a_node_whose_lease_lasts_longer_renews_more_seldom_and_is_given_longer() -> None:
    listener = Listener()
    listener.beats.put(Lease("slow", 9, "once", 120), listener.time.steady)
    listener.wait(SILENT + 39, beating=("a", "b", "c"))
    assert listener.silent == set()
    listener.wait(1)
    assert listener.silent == {"slow"}


def test_only_a_change_of_renew_time_is_a_heartbeat() -> None:
    listener = Listener()
    listener.wait(10)
    before = listener.beats.seen()["a"]
    listener.beats.put(Lease("a", 99, f"renewal {listener.renewals}", 40), listener.time.steady)
    assert listener.beats.seen()["a"] == before
    listener.renew("a")
    assert listener.beats.seen()["a"] == before + 10


def test_heartbeats_are_stamped_when_they_arrived_by_the_time_of_day() -> None:
    listener = Listener(nodes=("a",))
    listener.wait(10)
    listener.beats.put(Lease("a", 2, "new", 40), listener.time.steady - 0.25)
    assert listener.beats.seen() == {"a": pytest.approx(NOW + 9.75)}


def test_a_node_that_is_gone_is_forgotten() -> None:
    listener = Listener()
    listener.beats.drop("a")
    listener.beats.drop("a")
    assert set(listener.beats.seen()) == {"b", "c"}
    listener.renew("a")
    assert set(listener.beats.seen()) == {"a", "b", "c"}


def test_what_was_handed_out_stays_and_is_copied_only_when_something_changed() -> None:
    listener = Listener()
    seen = listener.beats.seen()
    assert listener.beats.seen() is seen
    listener.wait(1)
    listener.renew("a")
    assert seen["a"] == NOW
    assert listener.beats.seen()["a"] == NOW + 1


# -- while heartbeats can not be received


def test_listening_begins_with_the_end_of_the_list() -> None:
    listener = Listener()
    assert listener.beats.listening_since == NOW


def test_a_lease_of_a_node_long_dead_counts_from_the_first_list() -> None:
    listener = Listener()
    listener.wait(SILENT, beating=("a",))
    assert listener.silent == {"b", "c"}


def test_a_list_that_is_repeated_begins_anew() -> None:
    listener = Listener()
    listener.wait(20, beating=("a",))
    listener.list_all()
    assert listener.beats.listening_since == NOW + 20
    listener.wait(SILENT - 1, beating=("a",))
    assert listener.silent == set()
    listener.wait(1)
    assert listener.silent == {"b", "c"}


def test_no_node_is_silent_while_the_watch_is_broken_or_for_silent_seconds_after_that() -> None:
    listener = Listener()
    listener.wait(SILENT, connected=False)
    listener.wait(SILENT)
    listener.wait(1, connected=True)
    assert listener.beats.listening_since >= NOW + SILENT - 1
    assert Listener().silent == set()


def test_a_watch_that_is_broken_for_good_never_makes_a_node_silent() -> None:
    listener = Listener()
    for _ in range(5):
        listener.wait(SILENT, connected=False)
        assert listener.silent == set()
        assert listener.beats.listening_since >= listener.time.day - 2


def test_silence_that_stood_ends_with_the_watch() -> None:
    listener = Listener()
    listener.wait(SILENT, beating=("a",))
    assert listener.silent == {"b", "c"}
    listener.wait(4, connected=False)
    assert listener.silent == set()


def test_a_watch_that_is_resumed_at_once_interrupts_nothing() -> None:
    listener = Listener()
    listener.wait(SILENT - 5, beating=("a", "b"))
    listener.wait(1, connected=False)
    listener.wait(5, beating=())
    assert listener.beats.listening_since == NOW
    assert listener.silent == {"c"}


@pytest.mark.parametrize(("seconds", "anew"), [(2.9, False), (3.5, True), (60, True)])
def test_a_process_that_was_stopped_listens_anew(seconds: float, anew: bool) -> None:
    listener = Listener()
    listener.wait(9)
    listener.pause(seconds)
    # A pass may run before the tick does.
    assert (listener.beats.listening_since > NOW) is anew
    listener.beats.tick(connected=True)
    assert (listener.beats.listening_since > NOW) is anew
    listener.wait(SILENT - 1)
    assert (listener.silent == set()) is anew


@pytest.mark.parametrize("step", [20.0, 3600.0])
def test_a_time_of_day_that_is_set_forward_makes_no_node_silent(step: float) -> None:
    listener = Listener()
    listener.wait(10, beating=listener.nodes)
    listener.wait(9)
    listener.time.day += step
    assert listener.silent == set()
    assert listener.beats.seen() == dict.fromkeys(listener.nodes, NOW + 10 + step)
    assert listener.beats.listening_since == NOW + 19 + step
    listener.renew(*listener.nodes)
    listener.wait(SILENT, beating=("a", "b"))
    assert listener.silent == {"c"}


def test_a_time_of_day_that_drifts_changes_nothing() -> None:
    listener = Listener()
    listener.time.day += 0.4
    assert listener.beats.seen()["a"] == NOW
    assert listener.beats.listening_since == NOW


def test_a_time_of_day_that_goes_slower_for_a_while_is_no_gap_and_silence_is_counted_in_it() -> None:
    listener = Listener()
    for second in range(2 * SILENT):
        assert listener.silent == set()
        listener.time.steady += 1
        listener.time.day += 0.5
        if second % 10 == 0:
            listener.renew("a", "b")
        listener.beats.tick(connected=True)
    assert listener.beats.listening_since == NOW
    assert listener.silent == {"c"}


def test_the_first_heartbeat_after_a_gap_of_all_says_nothing_about_the_other_nodes() -> None:
    listener = Listener()
    # The API server is away: nobody can renew, and the watch stays open.
    listener.wait(SILENT + 5)
    assert listener.silent == {"a", "b", "c"}
    listener.renew("a")
    assert listener.silent == set()
    listener.wait(SILENT, beating=("a",))
    assert listener.silent == {"b", "c"}


def test_the_heartbeats_of_the_only_node_left_every_ten_seconds_are_no_gap() -> None:
    listener = Listener()
    listener.wait(60, beating=("a",))
    assert listener.beats.listening_since == NOW
    assert listener.silent == {"b", "c"}


def test_what_counts_as_a_gap_follows_from_how_long_the_lease_lasts() -> None:
    quick = Listener(seconds=4)
    quick.wait(2)
    quick.renew("a")
    assert quick.beats.listening_since == NOW + 2
    slow = Listener(seconds=400)
    slow.wait(100)
    slow.renew("a")
    assert slow.beats.listening_since == NOW


# -- what changed


def test_a_node_that_falls_silent_or_beats_again_is_reported_once() -> None:
    listener = Listener(nodes=tuple("abcdefgh"))
    listener.wait(SILENT, beating=tuple("abcdefg"))
    assert listener.changed() == ({"h"}, False)
    assert listener.changed() == (set(), False)
    listener.renew("h")
    assert listener.changed() == ({"h"}, False)


def test_each_number_of_seconds_is_reported_by_itself() -> None:
    listener = Listener(nodes=tuple("abcdefgh"))
    listener.wait(12, beating=tuple("abcdefg"))
    assert listener.changed(10)[0] == {"h"}
    assert listener.changed()[0] == set()


def test_while_half_of_the_nodes_are_silent_every_change_concerns_all_pools() -> None:
    listener = Listener(nodes=tuple("abcd"))
    listener.wait(SILENT, beating=("a", "b"))
    assert listener.changed() == ({"c", "d"}, True)
    listener.wait(1)
    assert listener.changed() == (set(), False)
    listener.renew("c")
    assert listener.changed() == ({"c"}, True)


# -- always

_STEPS = st.one_of(
    st.tuples(st.just("wait"), st.integers(1, 30)),
    st.tuples(st.just("renew"), st.sampled_from("abc")),
    st.tuples(st.just("drop"), st.sampled_from("abc")),
    st.tuples(st.just("pause"), st.floats(0, 40)),
    st.tuples(st.just("set"), st.floats(0, 100)),
    st.tuples(st.just("deaf"), st.integers(1, 5)),
    st.tuples(st.just("list"), st.just(0)),
)


@given(st.lists(_STEPS, max_size=20))
def test_a_node_is_silent_if_its_heartbeat_and_the_start_of_listening_are_both_so_old(
    steps: list[tuple[str, float]],
) -> None:
    listener = Listener()
    for what, how in steps:
        match what:
            case "wait":
                listener.wait(how)
            case "deaf":
                listener.wait(how, connected=False)
            case "renew":
                listener.renew(str(how))
            case "drop":
                listener.beats.drop(str(how))
            case "pause":
                listener.pause(how)
            case "set":
                listener.time.day += how
            case "list":
                listener.list_all()
        seen, since = listener.beats.seen(), listener.beats.listening_since
        assert since <= listener.time.day + ROUNDING
        limit = listener.time.day - SILENT
        assert listener.silent == {name for name, when in seen.items() if max(when, since) <= limit}


# -- Leases that were read directly


def live(listener: Listener, *names: str, renewal: str | None = None) -> None:
    """A reading of these Leases, as old as the watch has shown unless a renewal is told."""
    shown = listener.beats._renewed
    leases = [Lease(name, 0, shown[name] if renewal is None else renewal, 40) for name in names]
    listener.beats.compare(leases, listener.time.steady, listener.time.steady)


def test_a_lease_without_news_confirms_that_its_node_is_silent() -> None:
    listener = Listener()
    listener.wait(30, beating=("c",))
    live(listener, "a", "b")
    assert dict(listener.beats.read_live()) == dict.fromkeys(("a", "b"), listener.time.day)
    assert listener.silent == {"a", "b"}


def test_a_lease_that_was_renewed_is_a_heartbeat_and_none_of_the_reading_confirms_anything() -> None:
    listener = Listener()
    listener.wait(30, beating=("c",))
    shown = listener.beats._renewed
    leases = [Lease("a", 0, "newer", 40), Lease("b", 0, shown["b"], 40)]
    listener.beats.compare(leases, listener.time.steady, listener.time.steady)
    assert dict(listener.beats.read_live()) == {}
    assert listener.silent == {"b"}


@pytest.mark.parametrize("ends", ["heard", "gone"])
def test_a_node_that_is_heard_again_or_gone_is_confirmed_no_more(ends: str) -> None:
    listener = Listener()
    listener.wait(30, beating=("c",))
    live(listener, "a", "b")
    kept = listener.beats.read_live()
    if ends == "heard":
        listener.renew("a")
    else:
        listener.beats.drop("a")
    assert set(listener.beats.read_live()) == {"b"}
    assert set(kept) == {"a", "b"}


def test_an_empty_reading_confirms_nothing() -> None:
    listener = Listener()
    listener.wait(30, beating=("c",))
    live(listener)
    assert dict(listener.beats.read_live()) == {}


# -- the time between two heartbeats


def test_the_time_between_heartbeats_is_known_after_two_renewals_of_most_nodes() -> None:
    listener = Listener()
    for _ in range(2):
        listener.wait(8)
        listener.renew("a", "b", "c")
        assert listener.beats.interval() == 10
    listener.wait(8)
    listener.renew("a", "b", "c")
    assert listener.beats.interval() == 8


@pytest.mark.parametrize(("lasting", "expected"), [(4, 1), (40, 10), (120, 10)])
def test_until_then_heartbeats_are_expected_as_often_as_leases_say(lasting: int, expected: float) -> None:
    assert Listener(seconds=lasting).beats.interval() == expected


def test_until_then_the_lease_that_is_renewed_least_often_decides() -> None:
    listener = Listener(nodes=("a", "b"), seconds=4)
    listener.beats.put(Lease("c", 1, "renewal", 40), listener.time.steady)
    assert listener.beats.interval() == 10
    listener.beats.drop("c")
    assert listener.beats.interval() == 1
    listener.beats.drop("a")
    listener.beats.drop("b")
    assert listener.beats.interval() is None


@given(
    lasting=st.sampled_from([4, 20, 40, 60]),
    late=st.floats(0.9, 1.1),
    phases=st.lists(st.floats(0, 0.99), min_size=2, max_size=5),
    silent_seconds=st.integers(1, 30),
)
def test_after_a_start_no_living_node_is_silent(
    lasting: int, late: float, phases: list[float], silent_seconds: int
) -> None:
    renewing = lasting / 4 * late
    due = {f"n{count}": renewing * phase for count, phase in enumerate(phases)}
    listener = Listener(nodes=tuple(due), seconds=lasting)
    for tick in range(100):
        while (node := min(due, key=lambda name: due[name])) and due[node] <= tick * renewing / 20:
            listener.renew(node)
            due[node] += renewing
        listener.beats.tick(connected=True)
        assert listener.beats.silent(counted_silence(silent_seconds, listener.beats.interval())) == frozenset()
        listener.pause(renewing / 20)


def test_a_node_that_was_silent_and_a_gap_do_not_change_the_time_between_heartbeats() -> None:
    listener = Listener()
    listener.wait(40, beating=("a", "b", "c"))
    assert listener.beats.interval() == 10
    listener.wait(60, beating=("b", "c"))
    listener.wait(60, connected=False)
    listener.list_all()
    listener.wait(40, beating=("a", "b", "c"))
    assert listener.beats.interval() == 10


def test_a_single_node_that_was_silent_does_not_double_the_time() -> None:
    listener = Listener(nodes=("a", "b"))
    listener.wait(40, beating=("a", "b"))
    listener.beats.drop("b")
    for _ in range(3):
        listener.wait(10, beating=("a",))
        assert listener.beats.interval() == 10


def test_the_time_stays_the_same_while_it_varies_a_little() -> None:
    listener = Listener()
    listener.wait(40, beating=("a", "b", "c"))
    assert listener.beats.interval() == 10
    for _ in range(4):
        listener.wait(11)
        listener.renew("a", "b", "c")
    assert listener.beats.interval() == 10
    for _ in range(4):
        listener.wait(6)
        listener.renew("a", "b", "c")
    assert listener.beats.interval() == 6


def test_nodes_whose_leases_last_longer_count_by_what_silence_does_not_allow_for_anyway() -> None:
    # Four renewals in 120 s: silence is counted from 40 s after each of them.
    listener = Listener(seconds=120)
    for _ in range(5):
        listener.wait(30)
        listener.renew("a", "b", "c")
    assert listener.beats.interval() == 10
