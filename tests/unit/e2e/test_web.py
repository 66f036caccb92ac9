"""Requests that end in time, tried against servers on loopback that refuse, stall, drip and send elsewhere."""

from __future__ import annotations

import gc
import http.client
import io
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from http.client import HTTPResponse
from pathlib import Path

import pytest

from e2e.errors import DownloadError, HostError
from e2e.web import LARGEST_TEXT, Limits, Redirects, Web, host_of, proxies_of
from tests.unit.e2e.fileserver import FileServer, nowhere, sha256

# Far longer than any answer takes here.
UNHURRIED = Limits(60.0, 0)
# Shorter than no answer takes, and longer than an answer takes on a busy machine.
BRIEF = Limits(0.3, 0)
SHORT = Limits(1.5, 1 << 20)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer() as started:
        yield started


def web(limits: Limits = UNHURRIED, **proxies: str) -> Web:
    return Web(limits, proxies)


def test_a_host_that_answers_is_in_reach_whatever_it_says(server: FileServer) -> None:
    server.files["/there"] = b"content"
    assert web().out_of_reach([f"{server.url}/there"]) == {}
    assert web().out_of_reach([f"{server.url}/missing"]) == {}
    assert not server.asked


def test_each_host_is_asked_once_for_all_its_files(server: FileServer) -> None:
    assert web().out_of_reach([f"{server.url}/{number}" for number in range(5)]) == {}
    assert server.connections == 1


def test_hosts_are_asked_at_the_same_time(server: FileServer) -> None:
    with FileServer() as other:
        server.first = other.first = threading.Barrier(2)
        assert web().out_of_reach([f"{server.url}/a", f"{other.url}/b"]) == {}


def test_a_host_that_refuses_is_told_from_a_host_that_answers(server: FileServer) -> None:
    with nowhere() as sources:
        host = host_of(sources.helm)
        lost = web().out_of_reach([f"{server.url}/a", f"{sources.helm}/b", f"{sources.etcd}/c"])
    assert lost == {host: f"{host} can't be reached: Connection refused"}


def test_a_server_that_accepts_and_never_answers_is_given_up(server: FileServer) -> None:
    server.silent = True
    host = host_of(server.url)
    assert web(BRIEF).out_of_reach([f"{server.url}/a"]) == {host: f"{host} can't be reached: no answer within 0.3 s"}


def test_headers_that_drip_are_no_answer(server: FileServer) -> None:
    server.drips_headers = True
    with pytest.raises(HostError, match=r"no answer within 0\.3 s"):
        web(BRIEF).text(f"{server.url}/a")


def test_a_text_that_drips_is_given_up(server: FileServer) -> None:
    server.files["/sums"] = b"x" * 10_000
    server.drips.add("/sums")
    with pytest.raises(HostError, match="sends less than 1024 KiB/s"):
        web(SHORT).text(f"{server.url}/sums")


def test_a_file_that_stalls_is_given_up_for_the_host(server: FileServer, tmp_path: Path) -> None:
    server.files["/file"] = b"x" * 1000
    server.stalls_after["/file"] = 400
    with pytest.raises(HostError, match=rf"{host_of(server.url)} sent nothing for 1\.5 s") as given_up:
        web(SHORT).save(f"{server.url}/file", tmp_path / "file", lambda *_: None)
    assert given_up.value.host == host_of(server.url)


def test_without_a_floor_a_slow_file_is_waited_for(server: FileServer, tmp_path: Path) -> None:
    server.files["/file"] = b"x" * 100
    server.drips.add("/file")
    saved = web(replace(SHORT, bytes_per_second=0)).save(f"{server.url}/file", tmp_path / "file", lambda *_: None)
    assert saved == sha256(b"x" * 100)


def test_a_text_without_end_is_refused(server: FileServer) -> None:
    server.files["/sums"] = b"x" * (LARGEST_TEXT + 1)
    with pytest.raises(DownloadError, match="has more than 4 MiB"):
        web().text(f"{server.url}/sums")


def test_a_redirect_is_followed(server: FileServer) -> None:
    with FileServer() as other:
        other.files["/b"] = b"content"
        server.redirects["/a"] = f"{other.url}/b"
        assert web().text(f"{server.url}/a") == "content"


def test_a_redirect_to_a_host_out_of_reach_names_that_host_and_counts_for_the_first(server: FileServer) -> None:
    with nowhere() as sources:
        server.redirects["/a"] = f"{sources.helm}/b"
        lost = web().out_of_reach([f"{server.url}/a"])
    assert lost == {host_of(server.url): f"{host_of(sources.helm)} can't be reached: Connection refused"}


def test_a_proxy_that_refuses_is_a_plain_reason_without_its_password(server: FileServer) -> None:
    proxy = server.url.replace("//", "//user:secret@")
    lost = web(https=proxy).out_of_reach(["https://releases.invalid/file"])
    via = f"through the proxy {host_of(server.url)}"
    reason = f"releases.invalid can't be reached {via}: Tunnel connection failed: 403 Forbidden"
    assert lost == {"releases.invalid": reason}


def test_a_failure_keeps_no_connection(server: FileServer) -> None:
    # Python closes the connection to a proxy that refuses only when the last reference to the answer is gone.
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(HostError):
            web(https=server.url).text("https://releases.invalid/file")
        for thread in threading.enumerate():
            # The thread of the request may not have ended yet.
            if "_open" in thread.name:
                thread.join(UNHURRIED.seconds)
        kept = [found for found in gc.get_objects() if isinstance(found, HTTPResponse)]
    finally:
        gc.enable()
    assert kept == []


def test_proxies_are_those_of_the_environment() -> None:
    env = {"HTTPS_PROXY": "http://upper.invalid", "https_proxy": "http://lower.invalid", "HTTP_PROXY": "", "PATH": "/"}
    assert proxies_of(env) == {"https": "http://lower.invalid"}


@pytest.mark.parametrize("url", ["user:secret@proxy.invalid:3128", "http://user:secret@proxy.invalid:3128"])
def test_a_host_is_named_without_a_password(url: str) -> None:
    assert host_of(url) == "proxy.invalid:3128"


def test_a_mirror_may_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "sums").write_text("content")
    url = (tmp_path / "sums").as_uri()
    assert web().out_of_reach([url]) == {}
    assert web().text(url) == "content"


def test_an_address_that_is_none_is_an_error_that_names_it() -> None:
    with pytest.raises(DownloadError, match="no-address/file"):
        web().text("no-address/file")


def test_a_disk_that_takes_no_file_is_not_the_fault_of_the_host(server: FileServer, tmp_path: Path) -> None:
    server.files["/file"] = b"content"
    with pytest.raises(DownloadError, match="can't be written: No such file") as refused:
        web().save(f"{server.url}/file", tmp_path / "gone" / "file", lambda *_: None)
    assert not isinstance(refused.value, HostError)


def redirected(url: str) -> Redirects:
    """What follows a redirect from an address with HTTPS to this one."""
    redirects = Redirects("https://a.invalid/x")
    request = urllib.request.Request(redirects.url)
    redirects.redirect_request(request, io.BytesIO(), 302, "Found", http.client.HTTPMessage(), url)
    return redirects


def test_https_redirects_to_nothing_less() -> None:
    assert redirected("https://b.invalid/x").url == "https://b.invalid/x"
    with pytest.raises(DownloadError, match=r"redirects to http://b\.invalid/x, which is not HTTPS"):
        redirected("http://b.invalid/x")
