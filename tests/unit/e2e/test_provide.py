"""Making the cache complete: what is missing, one run at a time, whole or not at all."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from e2e import binaries, procs, provide, versions
from e2e.cluster import REPOSITORY
from e2e.errors import BuildError
from tests.unit.e2e.fake_go import FakeGo
from tests.unit.e2e.fileserver import FileServer


def script(path: Path, says: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {says}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def go(tmp_path: Path) -> FakeGo:
    return FakeGo(tmp_path / "go")


@pytest.fixture
def env(tmp_path: Path, go: FakeGo) -> dict[str, str]:
    """A machine that has every binary but kwok, and a recent Go."""
    env = {"PATH": f"{go.folder}:/usr/bin:/bin", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    for name, version in versions.BINARIES.items():
        if name != "kwok":
            script(binaries.cached(name, env), f"v{version}")
    go.binary_says = f"v{versions.KWOK}"
    go.tell()
    return env


def test_only_what_is_missing_is_built(env: dict[str, str], go: FakeGo) -> None:
    assert provide.provide(env)["kwok"] == binaries.cached("kwok", env)
    assert [call["arguments"][-1] for call in go.calls("build")] == ["sigs.k8s.io/kwok/cmd/kwok"]


def test_nothing_is_built_where_nothing_is_missing(env: dict[str, str], go: FakeGo) -> None:
    script(binaries.cached("kwok", env), f"v{versions.KWOK}")
    provide.provide(env)
    assert not go.calls("build")


def test_only_the_binaries_stay_after_a_build(env: dict[str, str]) -> None:
    provide.provide(env)
    cache = binaries.cache_root(env)
    assert sorted(entry.name for entry in cache.iterdir()) == ["bin", "lock"]
    assert len(list((cache / "bin").iterdir())) == len(versions.BINARIES)


def test_a_failed_build_keeps_what_the_next_one_can_use(env: dict[str, str], go: FakeGo) -> None:
    go.build_fails = "no space left on device"
    go.tell()
    with pytest.raises(BuildError, match="no space left"):
        provide.provide(env)
    assert (binaries.cache_root(env) / "build").is_dir()
    assert binaries.find("kwok", env) is None


def test_a_cluster_is_to_be_had_where_a_prometheus_is_not(env: dict[str, str], go: FakeGo) -> None:
    script(binaries.cached("kwok", env), f"v{versions.KWOK}")
    binaries.cached("prometheus", env).unlink()
    go.build_fails = "no route to host"
    go.tell()
    said: list[str] = []
    assert set(provide.provide(env, said.append)) == set(versions.FOR_CLUSTER)
    assert said[-1].startswith("prometheus can't be provided.")
    assert "no route to host" in said[-1]


def test_a_binary_of_another_version_is_not_let_into_the_cache(env: dict[str, str], go: FakeGo) -> None:
    go.binary_says = "v0.0.1"
    go.tell()
    with pytest.raises(BuildError, match=rf"its version is 0\.0\.1, not {versions.KWOK}"):
        provide.provide(env)
    assert binaries.find("kwok", env) is None


def test_what_an_earlier_run_left_half_installed_is_cleared(env: dict[str, str]) -> None:
    left = script(binaries.cache_root(env) / "bin" / ".new-abc" / "kwok", "half")
    provide.provide(env)
    assert not left.parent.exists()


def test_a_second_run_waits_for_the_first_and_then_has_nothing_to_do(env: dict[str, str], go: FakeGo) -> None:
    said: queue.Queue[str] = queue.Queue()
    waiting = threading.Thread(target=provide.provide, args=(env, said.put))
    with provide.locked(binaries.cache_root(env), said.put):
        waiting.start()
        assert f"Waiting for another run (process {os.getpid()})" in said.get(timeout=10)
        script(binaries.cached("kwok", env), f"v{versions.KWOK}")
    waiting.join()
    assert not go.calls("build")


# Like `python -m e2e binaries`, and open to an interrupt even where whoever runs the tests is not.
BINARIES_COMMAND = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from e2e.cli import main
sys.exit(main(["binaries"]))
"""


def test_an_interrupt_ends_go_too_and_says_how_to_go_on(env: dict[str, str], go: FakeGo) -> None:
    go.build_hangs = True
    go.tell()
    os.mkfifo(go.folder / "hangs")
    with subprocess.Popen(
        [sys.executable, "-c", BINARIES_COMMAND],
        env=env | {"PYTHONPATH": str(REPOSITORY)},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr
        (go.folder / "hangs").read_text()
        building = procs.ref(go.calls("build")[0]["pid"])
        process.send_signal(signal.SIGINT)
        assert "it is run again" in process.stderr.read()
    assert process.returncode == 130
    assert procs.wait_gone([building], 10) == []


def test_a_download_takes_the_place_of_the_build_and_of_go(env: dict[str, str], go: FakeGo) -> None:
    server = FileServer()
    try:
        server.publish("kwok", f"#!/bin/sh\necho v{versions.KWOK}\n".encode())
        env |= {
            "DOWNLOAD": "1",
            "COMPUTEPOOL_E2E_KWOK_URL": server.sources.kwok,
            "COMPUTEPOOL_E2E_KWOK_LISTING_URL": server.sources.kwok_listing,
        }
        assert provide.provide(env)["kwok"] == binaries.cached("kwok", env)
    finally:
        server.close()
    assert not (go.folder / "calls.jsonl").exists()


def test_download_is_opt_in() -> None:
    assert provide.wants_download({"DOWNLOAD": "1"})
    assert not provide.wants_download({"DOWNLOAD": "0"})
    assert not provide.wants_download({})
