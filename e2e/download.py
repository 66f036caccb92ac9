"""Downloads official releases instead of building them, on request, and checks their published checksums.

A file counts only once it has the checksum; until then it lies in a temporary folder that goes in any case.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from e2e import versions
from e2e.errors import DownloadError
from e2e.progress import Progress

CHUNK = 1 << 20
# Seconds without a byte after which a connection counts as dead.
TIMEOUT = 30.0


@dataclass(frozen=True)
class Sources:
    """Where each project publishes its releases; a mirror of the same layout may take its place."""

    kubernetes: str = "https://dl.k8s.io/release"
    etcd: str = "https://github.com/etcd-io/etcd/releases/download"
    kwok: str = "https://github.com/kubernetes-sigs/kwok/releases/download"
    # kwok publishes no checksum files; the listing of its release says the digest of each.
    kwok_listing: str = "https://api.github.com/repos/kubernetes-sigs/kwok/releases/tags"
    helm: str = "https://get.helm.sh"
    prometheus: str = "https://github.com/prometheus/prometheus/releases/download"

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Sources:
        """The defaults, or what COMPUTEPOOL_E2E_<PROJECT>_URL says: KUBERNETES, ETCD, KWOK, KWOK_LISTING, HELM,
        PROMETHEUS.
        """
        named = {field: env.get(f"COMPUTEPOOL_E2E_{field.upper()}_URL") for field in cls.__dataclass_fields__}
        return cls(**{field: url.rstrip("/") for field, url in named.items() if url})


@dataclass(frozen=True)
class Release:
    """One file of a release: where it is, where its checksum is, and which part of it is the binary."""

    url: str
    checksum_url: str
    # Finds the file's SHA-256 in what the checksum's URL answers.
    read_checksum: Callable[[str], str]
    # The path of the binary within a .tar.gz; None where the file is the binary.
    member: str | None = None


def releases(sources: Sources, target: str) -> dict[str, Release]:
    """Every binary's release for a target such as "linux-amd64". Raises DownloadError where there is none."""
    system, _, machine = target.partition("-")
    if system != "linux":
        raise DownloadError(f"there are no releases of the control plane for {target}; build it: leave DOWNLOAD out")
    found = {
        name: _kubernetes(sources, name, f"{system}/{machine}")
        for name, version in versions.BINARIES.items()
        if version == versions.KUBERNETES
    }
    return found | {
        "etcd": _etcd(sources, target),
        "kwok": _kwok(sources, target),
        "helm": _helm(sources, target),
        "prometheus": _prometheus(sources, target),
    }


def _kubernetes(sources: Sources, name: str, folder: str) -> Release:
    url = f"{sources.kubernetes}/v{versions.KUBERNETES}/bin/{folder}/{name}"
    return Release(url, f"{url}.sha256", _only)


def _etcd(sources: Sources, target: str) -> Release:
    stem = f"etcd-v{versions.ETCD}-{target}"
    base = f"{sources.etcd}/v{versions.ETCD}"
    return Release(f"{base}/{stem}.tar.gz", f"{base}/SHA256SUMS", _listed(f"{stem}.tar.gz"), f"{stem}/etcd")


def _kwok(sources: Sources, target: str) -> Release:
    tag, name = f"v{versions.KWOK}", f"kwok-{target}"
    return Release(f"{sources.kwok}/{tag}/{name}", f"{sources.kwok_listing}/{tag}", _digest_of(name))


def _helm(sources: Sources, target: str) -> Release:
    name = f"helm-v{versions.HELM}-{target}.tar.gz"
    return Release(f"{sources.helm}/{name}", f"{sources.helm}/{name}.sha256sum", _listed(name), f"{target}/helm")


def _prometheus(sources: Sources, target: str) -> Release:
    stem = f"prometheus-{versions.PROMETHEUS}.{target}"
    base = f"{sources.prometheus}/v{versions.PROMETHEUS}"
    return Release(f"{base}/{stem}.tar.gz", f"{base}/sha256sums.txt", _listed(f"{stem}.tar.gz"), f"{stem}/prometheus")


def download(
    names: Iterable[str],
    target: str,
    done: Callable[[str, Path], None],
    sources: Sources | None = None,
) -> None:
    """Download the binaries of these names, and hand each over to `done` once it is verified.

    Raises DownloadError, which names the URL; whatever was handed over before stays.
    """
    available = releases(sources or Sources.from_env(), target)
    for name in names:
        with Progress(f"{name} {versions.BINARIES[name]}") as progress, tempfile.TemporaryDirectory() as folder:
            done(name, fetch(available[name], Path(folder) / name, progress))


def fetch(release: Release, path: Path, progress: Progress) -> Path:
    """Download one release to the path and verify it. Raises DownloadError, and then leaves nothing there."""
    progress.say("asking for its checksum")
    wanted = release.read_checksum(_text(release.checksum_url))
    if not _is_sha256(wanted):
        raise DownloadError(f"{release.checksum_url} names no SHA-256 of {release.url}")
    whole = path.with_name(f"{path.name}.part")
    try:
        got = _save(release.url, whole, progress)
        if got != wanted:
            raise DownloadError(f"{release.url} has the checksum {got}, but {release.checksum_url} says {wanted}")
        if release.member is None:
            whole.rename(path)
        else:
            _extract(whole, release.member, path)
    finally:
        whole.unlink(missing_ok=True)
    return path


def _save(url: str, path: Path, progress: Progress) -> str:
    """Download to a file and return its SHA-256."""
    digest, size = hashlib.sha256(), 0
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer, path.open("wb") as file:
            length = int(answer.headers.get("Content-Length") or 0)
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
                progress.say(f"downloaded {size >> 20} of {length >> 20} MiB")
    except (OSError, http.client.HTTPException) as problem:
        raise DownloadError(f"{url}: {problem}") from problem
    if length and size != length:
        raise DownloadError(f"{url} ended after {size} of {length} bytes; try again")
    return digest.hexdigest()


def _text(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            return str(answer.read().decode())
    except (OSError, http.client.HTTPException) as problem:
        raise DownloadError(f"{url}: {problem}") from problem


def _extract(archive: Path, member: str, path: Path) -> None:
    try:
        with tarfile.open(archive) as tar:
            file = tar.extractfile(member)
            if file is None:
                raise DownloadError(f"{member} in the archive is no file")
            with file, path.open("wb") as out:
                while chunk := file.read(CHUNK):
                    out.write(chunk)
    except (KeyError, tarfile.TarError) as problem:
        path.unlink(missing_ok=True)
        raise DownloadError(f"the archive has no {member}: {problem}") from problem


def _only(text: str) -> str:
    return text.split()[0] if text.split() else ""


def _listed(name: str) -> Callable[[str], str]:
    """In `sha256sum`'s format: a checksum, blanks, perhaps a star, and the file's name."""

    def read(text: str) -> str:
        for line in text.splitlines():
            checksum, _, listed = line.strip().partition(" ")
            if listed.strip().lstrip("*") == name:
                return checksum
        return ""

    return read


def _digest_of(name: str) -> Callable[[str], str]:
    """In the listing of a release: {"assets": [{"name": ..., "digest": "sha256:..."}]}."""

    def read(text: str) -> str:
        try:
            assets = json.loads(text).get("assets", [])
        except ValueError:
            return ""
        digests = [asset.get("digest") or "" for asset in assets if asset.get("name") == name]
        return str(digests[0]).removeprefix("sha256:") if digests else ""

    return read


def _is_sha256(text: str) -> bool:
    return len(text) == 64 and all(digit in "0123456789abcdef" for digit in text)
