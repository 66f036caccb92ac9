"""Whatever ends, and however: nothing that a supervisor started outlives it, and it does not outlive its owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from e2e import procs, state
from e2e.cluster import REPOSITORY
from e2e.components import ComponentSpec
from e2e.supervisor import Answer, End, Keep, Request, Signal, Start, Status, Stop

# Seconds within which a process that was told to end has to be gone, on a machine that does other things too.
SOON = 15.0


class Supervised:
    """A real supervisor, spoken to over its pipes, with shell scripts for components."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "logs").mkdir()
        state.write_record(folder, state.ClusterRecord("test", [], owner=procs.ref(os.getpid())))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "e2e.supervisor", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        )
        self.me = procs.ref(self.process.pid)

    def ask(self, request: Request) -> Answer:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(msgspec.json.encode(request) + b"\n")
        self.process.stdin.flush()
        return msgspec.json.decode(self.process.stdout.readline(), type=Answer)

    def start(self, name: str, script: str = "exec sleep 600", *, first: str = ":") -> procs.ProcessRef:
        """Start a component, and wait until it has done what comes first."""
        ready = self.folder / f"{name}.ready"
        os.mkfifo(ready)
        spec = ComponentSpec(
            name=name,
            argv=["/bin/sh", "-c", f"{first}; echo > {ready}; {script}"],
            log=str(self.folder / "logs" / f"{name}.log"),
            health="",
        )
        answer = self.ask(Start(spec))
        assert not answer.error
        component = procs.ref(answer.running[name])
        ready.read_text()
        return component

    def let_go(self) -> None:
        """Close the tether, as the system does when the owner ends."""
        assert self.process.stdin
        self.process.stdin.close()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe and not pipe.closed:
                pipe.close()


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Supervised]:
    started = Supervised(tmp_path / "cluster")
    yield started
    started.close()


def test_the_end_of_the_owner_ends_all_components_and_removes_the_folder(supervised: Supervised) -> None:
    components = [supervised.start("a"), supervised.start("b")]
    supervised.let_go()
    assert supervised.process.wait(SOON) == 0
    assert procs.wait_gone(components, 0) == []
    assert not supervised.folder.exists()


def test_a_component_that_ignores_signals_is_ended_all_the_same(supervised: Supervised) -> None:
    stubborn = supervised.start("a", first="trap '' TERM INT HUP")
    supervised.let_go()
    supervised.process.wait(SOON)
    assert procs.wait_gone([stubborn], 0) == []


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_all_components(supervised: Supervised, signum: signal.Signals) -> None:
    component = supervised.start("a")
    supervised.process.send_signal(signum)
    assert supervised.process.wait(SOON) == 0
    assert procs.wait_gone([component], 0) == []
    assert not supervised.folder.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent was killed")
def test_a_killed_supervisor_takes_its_components_with_it(supervised: Supervised) -> None:
    components = [supervised.start("a"), supervised.start("b")]
    supervised.process.kill()
    assert procs.wait_gone([supervised.me, *components], SOON) == []


def test_a_kept_cluster_outlives_its_owner_until_it_is_told_to_end(supervised: Supervised) -> None:
    component = supervised.start("a")
    supervised.ask(Keep())
    supervised.let_go()
    with pytest.raises(subprocess.TimeoutExpired):
        supervised.process.wait(0.3)
    assert procs.is_alive(component)
    procs.send(supervised.me, signal.SIGTERM)
    supervised.process.wait(SOON)
    assert procs.wait_gone([component], 0) == []


def test_logs_stay_where_the_record_says_so(supervised: Supervised) -> None:
    supervised.start("a", "echo something happened; exec sleep 600")
    state.write_record(supervised.folder, msgspec.structs.replace(state.read_record(supervised.folder), keep_logs=True))
    supervised.let_go()
    supervised.process.wait(SOON)
    assert [path.name for path in supervised.folder.iterdir()] == ["logs"]
    assert "something happened" in (supervised.folder / "logs" / "a.log").read_text()


def test_a_component_can_be_stopped_and_started_again(supervised: Supervised) -> None:
    first = supervised.start("a")
    assert supervised.ask(Stop("a")).running == {}
    assert not procs.is_alive(first)
    (supervised.folder / "a.ready").unlink()
    assert procs.is_alive(supervised.start("a"))


def test_an_orderly_stop_lets_the_component_clean_up(supervised: Supervised) -> None:
    supervised.start("a", "while :; do sleep 0.1; done", first=f"trap 'echo bye > {supervised.folder}/said; exit' TERM")
    supervised.ask(Stop("a", signal.SIGTERM))
    assert (supervised.folder / "said").read_text() == "bye\n"


def test_a_paused_component_can_be_stopped(supervised: Supervised) -> None:
    paused = supervised.start("a")
    supervised.ask(Signal("a", signal.SIGSTOP))
    supervised.ask(Stop("a", signal.SIGTERM))
    assert not procs.is_alive(paused)


def test_a_component_that_ends_by_itself_is_reported_with_its_exit_code(supervised: Supervised) -> None:
    ended = supervised.start("a", "exit 3")
    procs.wait_gone([ended], SOON)
    assert supervised.ask(Status()) == Answer(running={}, ended={"a": 3})


def test_what_cannot_be_done_is_refused_with_a_reason(supervised: Supervised) -> None:
    supervised.start("a")
    assert supervised.ask(Stop("b")).error == "b does not run"
    spec = ComponentSpec(name="a", argv=["/bin/true"], log=str(supervised.folder / "logs" / "a.log"), health="")
    assert supervised.ask(Start(spec)).error == "a runs already"
    missing = msgspec.structs.replace(spec, name="c", argv=["/no/such/binary"])
    assert "/no/such/binary" in supervised.ask(Start(missing)).error


def test_the_record_names_the_components_for_those_who_clean_up(supervised: Supervised) -> None:
    component = supervised.start("a")
    assert state.read_record(supervised.folder).components == {"a": component}


def test_an_end_is_answered_by_the_end(supervised: Supervised) -> None:
    component = supervised.start("a")
    assert supervised.process.stdin
    supervised.process.stdin.write(msgspec.json.encode(End()) + b"\n")
    supervised.process.stdin.flush()
    assert supervised.process.wait(SOON) == 0
    assert procs.wait_gone([component], 0) == []
