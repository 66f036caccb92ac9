"""Downloads: only what has its published checksum is kept. Tried against a file server on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e import versions
from e2e.download import Sources, download, releases
from e2e.errors import DownloadError
from tests.unit.e2e.fileserver import TARGET, FileServer, archive, checksum_file, sha256


@pytest.fixture
def server() -> Iterator[FileServer]:
    started = FileServer()
    yield started
    started.close()


class Kept:
    """What a download handed over: contents by name. Keeps where they lay, to see whether that was cleared."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.folders: list[Path] = []

    def __call__(self, name: str, path: Path) -> None:
        self.contents[name] = path.read_bytes()
        self.folders.append(path.parent)


def test_every_binary_is_taken_from_its_projects_release(server: FileServer) -> None:
    for name in versions.BINARIES:
        server.publish(name, f"binary of {name}".encode())
    kept = Kept()
    download(versions.BINARIES, TARGET, kept, server.sources)
    assert kept.contents == {name: f"binary of {name}".encode() for name in versions.BINARIES}


def test_nothing_stays_in_the_temporary_folder(server: FileServer) -> None:
    server.publish("kwok", b"kwok")
    kept = Kept()
    download(["kwok"], TARGET, kept, server.sources)
    assert [folder.exists() for folder in kept.folders] == [False]


@pytest.mark.parametrize("name", sorted(versions.BINARIES))
def test_a_file_with_another_checksum_is_refused(server: FileServer, name: str) -> None:
    server.publish(name, b"as published")
    server.files[server.path_of(name)] = b"as tampered with"
    kept = Kept()
    with pytest.raises(DownloadError, match=f"has the checksum {sha256(b'as tampered with')}"):
        download([name], TARGET, kept, server.sources)
    assert not kept.contents


def test_a_download_that_breaks_off_is_refused_and_says_how_far_it_came(server: FileServer) -> None:
    server.publish("kubectl", b"x" * 1000)
    server.breaks_after[server.path_of("kubectl")] = 400
    kept = Kept()
    with pytest.raises(DownloadError, match="ended after 400 of 1000 bytes"):
        download(["kubectl"], TARGET, kept, server.sources)
    assert not kept.contents


def test_what_is_not_there_is_named_by_its_address(server: FileServer) -> None:
    server.publish("kubectl", b"kubectl")
    del server.files[server.path_of("kubectl")]
    with pytest.raises(DownloadError, match=f"{server.path_of('kubectl')}: HTTP Error 404"):
        download(["kubectl"], TARGET, Kept(), server.sources)


@pytest.mark.parametrize("answer", [b"", b"<html>come back later</html>", b"{}", b"d41d8cd98f00b204e9800998ecf8427e"])
@pytest.mark.parametrize("name", ["kubectl", "etcd", "kwok", "helm"])
def test_without_a_sha256_nothing_is_even_downloaded(server: FileServer, name: str, answer: bytes) -> None:
    server.publish(name, b"content")
    server.files[server.checksum_path_of(name)] = answer
    with pytest.raises(DownloadError, match="names no SHA-256"):
        download([name], TARGET, Kept(), server.sources)
    assert server.path_of(name) not in server.asked


def test_an_archive_without_the_binary_is_refused(server: FileServer) -> None:
    server.publish("etcd", b"etcd")
    packed = archive("etcd-of-another-name", b"etcd")
    file = server.path_of("etcd").rpartition("/")[2]
    server.files[server.path_of("etcd")] = packed
    server.files[server.checksum_path_of("etcd")] = checksum_file("etcd", file, sha256(packed))
    with pytest.raises(DownloadError, match=r"the archive has no etcd-.*/etcd"):
        download(["etcd"], TARGET, Kept(), server.sources)


def test_what_was_verified_before_a_failure_has_been_handed_over(server: FileServer) -> None:
    server.publish("kwok", b"kwok")
    kept = Kept()
    with pytest.raises(DownloadError):
        download(["kwok", "helm"], TARGET, kept, server.sources)
    assert kept.contents == {"kwok": b"kwok"}


def test_an_interrupt_leaves_nothing_behind(server: FileServer) -> None:
    server.publish("kwok", b"kwok")
    folders: list[Path] = []

    def interrupted(name: str, path: Path) -> None:
        folders.append(path.parent)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(["kwok"], TARGET, interrupted, server.sources)
    assert [folder.exists() for folder in folders] == [False]


def test_a_server_that_does_not_answer_is_an_error_that_names_the_address() -> None:
    with pytest.raises(DownloadError, match=r"http://127\.0\.0\.1:9/helm"):
        download(["helm"], TARGET, Kept(), Sources(helm="http://127.0.0.1:9/helm"))


def test_a_machine_without_releases_is_told_to_build() -> None:
    with pytest.raises(DownloadError, match="no releases of the control plane for darwin-arm64; build it"):
        releases(Sources(), "darwin-arm64")


def test_the_environment_may_name_mirrors() -> None:
    named = Sources.from_env({"COMPUTEPOOL_E2E_KWOK_LISTING_URL": "http://mirror.invalid/tags/"})
    assert named == Sources(kwok_listing="http://mirror.invalid/tags")
