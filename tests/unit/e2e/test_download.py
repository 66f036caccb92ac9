"""Downloads: only what has its published checksum is kept, and a host that fails costs one attempt.

Tried against file servers on loopback.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from e2e import versions
from e2e.download import download
from e2e.errors import BuildError, DownloadError
from e2e.releases import Sources, releases
from e2e.web import Limits, Web, host_of
from tests.unit.e2e.fileserver import TARGET, FileServer, archive, checksum_file, nowhere, sha256

# Far longer than any answer takes here.
UNHURRIED = Limits(60.0, 0)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer() as started:
        yield started


class Machine:
    """Downloads into a folder, and keeps what was handed over: contents by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.contents: dict[str, bytes] = {}

    def download(self, names: Iterable[str], sources: Sources, limits: Limits = UNHURRIED) -> dict[str, str]:
        """Why the binaries that were not handed over were refused."""
        return download(names, TARGET, self.folder, self.keep, Web(limits, {}), sources)

    def keep(self, name: str, path: Path) -> None:
        self.contents[name] = path.read_bytes()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    yield Machine(tmp_path)
    assert not list(tmp_path.iterdir()), "something is left of a download"


def test_every_binary_is_taken_from_its_projects_release(server: FileServer, machine: Machine) -> None:
    for name in versions.BINARIES:
        server.publish(name, f"binary of {name}".encode())
    assert machine.download(versions.BINARIES, server.sources) == {}
    assert machine.contents == {name: f"binary of {name}".encode() for name in versions.BINARIES}


def test_a_release_may_be_elsewhere(server: FileServer, machine: Machine) -> None:
    server.publish("kubectl", b"kubectl")
    with FileServer() as other:
        for path in (server.path_of("kubectl"), server.checksum_path_of("kubectl")):
            other.files[path] = server.files.pop(path)
            server.redirects[path] = other.url + path
        assert machine.download(["kubectl"], server.sources) == {}
    assert machine.contents == {"kubectl": b"kubectl"}


@pytest.mark.parametrize("name", sorted(versions.BINARIES))
def test_a_file_with_another_checksum_is_refused(server: FileServer, machine: Machine, name: str) -> None:
    server.publish(name, b"as published")
    server.files[server.path_of(name)] = b"as tampered with"
    refused = machine.download([name], server.sources)
    assert f"has the checksum {sha256(b'as tampered with')}" in refused[name]
    assert not machine.contents


def test_a_download_that_breaks_off_is_refused_and_says_how_far_it_came(server: FileServer, machine: Machine) -> None:
    server.publish("kubectl", b"x" * 1000)
    server.breaks_after[server.path_of("kubectl")] = 400
    assert "ended after 400 of 1000 bytes" in machine.download(["kubectl"], server.sources)["kubectl"]
    assert not machine.contents


def test_what_is_not_there_is_named_by_its_address(server: FileServer, machine: Machine) -> None:
    server.publish("kubectl", b"kubectl")
    del server.files[server.path_of("kubectl")]
    refused = machine.download(["kubectl"], server.sources)
    assert f"{server.path_of('kubectl')}: HTTP Error 404" in refused["kubectl"]


@pytest.mark.parametrize("answer", [b"", b"<html>come back later</html>", b"{}", b"d41d8cd98f00b204e9800998ecf8427e"])
@pytest.mark.parametrize("name", ["kubectl", "etcd", "kwok", "helm"])
def test_without_a_sha256_nothing_is_even_downloaded(
    server: FileServer, machine: Machine, name: str, answer: bytes
) -> None:
    server.publish(name, b"content")
    server.files[server.checksum_path_of(name)] = answer
    assert "names no SHA-256" in machine.download([name], server.sources)[name]
    assert server.path_of(name) not in server.asked


@pytest.mark.parametrize(
    "packed",
    [archive("etcd-of-another-name", b"etcd"), archive("etcd", b"etcd")[:50], b"text"],
    ids=["another", "cut", "text"],
)
def test_an_archive_without_the_binary_is_refused(server: FileServer, machine: Machine, packed: bytes) -> None:
    server.publish("etcd", b"etcd")
    file = server.path_of("etcd").rpartition("/")[2]
    server.files[server.path_of("etcd")] = packed
    server.files[server.checksum_path_of("etcd")] = checksum_file("etcd", file, sha256(packed))
    assert "/etcd can't be extracted from the archive" in machine.download(["etcd"], server.sources)["etcd"]


def test_a_file_that_fails_stops_no_other_file(server: FileServer, machine: Machine) -> None:
    server.publish("kwok", b"kwok")
    server.publish("kubectl", b"kubectl")
    assert list(machine.download(["kwok", "helm", "kubectl"], server.sources)) == ["helm"]
    assert machine.contents == {"kwok": b"kwok", "kubectl": b"kubectl"}


def test_a_binary_that_is_not_accepted_is_refused_with_the_reason(server: FileServer, machine: Machine) -> None:
    server.publish("kwok", b"kwok")

    def reject(_name: str, _path: Path) -> None:
        raise BuildError("its version is another")

    refused = download(["kwok"], TARGET, machine.folder, reject, Web(UNHURRIED, {}), server.sources)
    assert refused == {"kwok": "its version is another"}


def test_an_interrupt_leaves_nothing_behind(server: FileServer, machine: Machine) -> None:
    server.publish("kwok", b"kwok")

    def interrupted(_name: str, _path: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(["kwok"], TARGET, machine.folder, interrupted, Web(UNHURRIED, {}), server.sources)


def test_a_host_that_does_not_answer_decides_for_all_its_files_and_for_no_other_host(
    server: FileServer, machine: Machine
) -> None:
    server.publish("kubectl", b"kubectl")
    with nowhere() as closed:
        sources = replace(server.sources, etcd=closed.etcd, prometheus=closed.prometheus, kwok_listing=closed.helm)
        refused = machine.download(["etcd", "kubectl", "kwok", "prometheus"], sources)
        reason = f"{host_of(closed.etcd)} can't be reached: Connection refused"
    assert refused == dict.fromkeys(["etcd", "kwok", "prometheus"], reason)
    assert machine.contents == {"kubectl": b"kubectl"}


def test_a_host_that_falls_silent_is_asked_for_nothing_more(server: FileServer, machine: Machine) -> None:
    for name in ("kubectl", "kube-scheduler"):
        server.publish(name, b"x" * 1000)
    server.stalls_after[server.path_of("kubectl")] = 400
    refused = machine.download(["kubectl", "kube-scheduler"], server.sources, Limits(1.5, 0))
    assert refused == dict.fromkeys(["kubectl", "kube-scheduler"], f"{host_of(server.url)} sent nothing for 1.5 s")
    assert server.path_of("kube-scheduler") not in server.asked


def test_a_machine_without_releases_is_told_so_without_a_connection(server: FileServer, tmp_path: Path) -> None:
    def never(name: str, _path: Path) -> None:
        raise AssertionError(name)

    refused = download(["etcd"], "darwin-arm64", tmp_path, never, Web(UNHURRIED, {}), server.sources)
    assert refused == {"etcd": "there are no official releases of the control plane for darwin-arm64"}
    assert server.connections == 0
    with pytest.raises(DownloadError):
        releases(Sources(), "darwin-arm64")


def test_the_environment_may_name_mirrors() -> None:
    named = Sources.from_env({"COMPUTEPOOL_E2E_KWOK_LISTING_URL": "http://mirror.invalid/tags/"})
    assert named == Sources(kwok_listing="http://mirror.invalid/tags")
