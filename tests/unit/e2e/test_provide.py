"""Making the cache complete: what is missing, one run at a time, whole or not at all."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e import binaries, procs, provide, versions
from e2e.cluster import REPOSITORY
from e2e.errors import BuildError, DownloadError
from e2e.web import host_of
from tests.unit.e2e.fake_go import FakeGo
from tests.unit.e2e.fileserver import FileServer, nowhere, variables


def script(path: Path, says: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {says}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def go(tmp_path: Path) -> FakeGo:
    return FakeGo(tmp_path / "go")


@pytest.fixture
def env(tmp_path: Path, go: FakeGo) -> Iterator[dict[str, str]]:
    """A machine that has every binary but kwok, a recent Go, and no way to the hosts of releases."""
    env = {"PATH": f"{go.folder}:/usr/bin:/bin", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    for name, version in versions.BINARIES.items():
        if name != "kwok":
            script(binaries.cached(name, env), f"v{version}")
    go.binary_says = f"v{versions.KWOK}"
    go.tell()
    with nowhere() as sources:
        yield env | variables(sources)


@pytest.fixture
def server(env: dict[str, str]) -> Iterator[FileServer]:
    """The hosts of releases, which the machine can reach: they have kwok."""
    with FileServer() as started:
        started.publish("kwok", f"#!/bin/sh\necho v{versions.KWOK}\n".encode())
        env |= variables(started.sources)
        yield started


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


def test_a_download_takes_the_place_of_the_build_and_of_go(
    env: dict[str, str], go: FakeGo, server: FileServer, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    assert provide.provide(env, said.append)["kwok"] == binaries.cached("kwok", env)
    assert said == [f"Downloading into {binaries.cache_root(env)}: kwok"]
    assert f"kwok {versions.KWOK} from {host_of(server.url)}: done" in capsys.readouterr().err
    assert not (go.folder / "calls.jsonl").exists()
    assert [path.name for path in (binaries.cache_root(env) / "bin").glob(".*")] == []


def test_where_no_host_is_in_reach_the_build_begins_and_says_why(env: dict[str, str], go: FakeGo) -> None:
    said: list[str] = []
    assert provide.provide(env, said.append)["kwok"] == binaries.cached("kwok", env)
    assert len(go.calls("build")) == 1
    cache, host = binaries.cache_root(env), host_of(env["COMPUTEPOOL_E2E_KWOK_LISTING_URL"])
    assert said == [
        f"Downloading into {cache}: kwok",
        f"Can't download kwok: {host} can't be reached: Connection refused",
        f"Building into {cache}: kwok. All binaries together take 10 to 17 minutes.",
    ]


def test_a_reason_is_told_once_for_all_its_binaries(env: dict[str, str]) -> None:
    binaries.cached("helm", env).unlink()
    said: list[str] = []
    with pytest.raises(DownloadError):
        provide.provide(env | {"DOWNLOAD": "1"}, said.append)
    assert [line.partition(":")[0] for line in said if line.startswith("Can't")] == ["Can't download kwok, helm"]


def spoil_checksum(server: FileServer) -> None:
    server.files[server.path_of("kwok")] += b"# tampered with"


def spoil_version(server: FileServer) -> None:
    server.publish("kwok", b"#!/bin/sh\necho v0.0.1\n")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [(spoil_checksum, "has the checksum"), (spoil_version, "says that its version is 0.0.1")],
)
def test_a_download_that_is_not_the_release_is_never_used_and_built_instead(
    env: dict[str, str], go: FakeGo, server: FileServer, spoil: Callable[[FileServer], None], reason: str
) -> None:
    spoil(server)
    said: list[str] = []
    provide.provide(env, said.append)
    assert [reason in line for line in said if line.startswith("Can't download kwok: ")] == [True]
    assert len(go.calls("build")) == 1
    assert binaries.version_of(binaries.cached("kwok", env), "kwok") == versions.KWOK
    assert sorted(path.name for path in binaries.cache_root(env).iterdir()) == ["bin", "lock"]
    assert not list((binaries.cache_root(env) / "bin").glob(".*"))


def test_download_0_opens_no_connection_and_builds(env: dict[str, str], go: FakeGo, server: FileServer) -> None:
    said: list[str] = []
    provide.provide(env | {"DOWNLOAD": "0"}, said.append)
    assert server.connections == 0
    assert len(go.calls("build")) == 1
    assert [line.split()[0] for line in said] == ["Building"]


def test_download_1_downloads(env: dict[str, str], server: FileServer) -> None:
    assert provide.provide(env | {"DOWNLOAD": "1"})["kwok"] == binaries.cached("kwok", env)


def test_download_1_never_builds_and_says_why_it_could_not_download(env: dict[str, str], go: FakeGo) -> None:
    said: list[str] = []
    with pytest.raises(DownloadError, match="kwok can't be downloaded; without DOWNLOAD=1 a build takes its place"):
        provide.provide(env | {"DOWNLOAD": "1"}, said.append)
    assert "can't be reached: Connection refused" in said[-1]
    assert not (go.folder / "calls.jsonl").exists()


def test_download_is_neither_guessed_nor_case_sensitive(env: dict[str, str], server: FileServer) -> None:
    assert provide.Policy.from_env({"DOWNLOAD": "No"}) is provide.Policy.BUILD
    assert provide.Policy.from_env({"DOWNLOAD": "TRUE"}) is provide.Policy.DOWNLOAD
    assert provide.Policy.from_env({"DOWNLOAD": " "}) is provide.Policy.DOWNLOAD_OR_BUILD
    with pytest.raises(DownloadError, match="DOWNLOAD is 'never'; set it to 0"):
        provide.provide(env | {"DOWNLOAD": "never"})
    assert server.connections == 0


def test_an_interrupt_of_a_download_leaves_nothing(env: dict[str, str], server: FileServer) -> None:
    server.stalls_after[server.path_of("kwok")] = 10
    with subprocess.Popen(
        [sys.executable, "-c", BINARIES_COMMAND],
        # The patient download, so that a busy machine has time for the interrupt.
        env=env | {"PYTHONPATH": str(REPOSITORY), "DOWNLOAD": "1"},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr
        assert server.stalled.wait(60)
        assert list((binaries.cache_root(env) / "bin").glob(".new-*"))
        process.send_signal(signal.SIGINT)
        process.stderr.read()
    assert process.returncode == 130
    assert not list((binaries.cache_root(env) / "bin").glob(".*"))
    assert binaries.find("kwok", env) is None


def test_make_hands_the_variable_on(tmp_path: Path) -> None:
    """`make control-plane DOWNLOAD=0` says the same as `DOWNLOAD=0 make control-plane`."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\necho DOWNLOAD is $DOWNLOAD\n")
    python.chmod(0o755)
    (tmp_path / ".ready").touch()
    ran = subprocess.run(
        ["make", f"VENV={tmp_path}", "control-plane", "DOWNLOAD=0"],
        cwd=REPOSITORY,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "DOWNLOAD is 0" in ran.stdout
