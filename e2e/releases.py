"""Where projects publish the official releases of the binaries, and the checksums of the files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from e2e import versions
from e2e.errors import DownloadError


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

    @property
    def urls(self) -> tuple[str, str]:
        """Both addresses, in the order in which they are asked."""
        return self.checksum_url, self.url


def releases(sources: Sources, target: str) -> dict[str, Release]:
    """Every binary's release for a target such as "linux-amd64". Raises DownloadError where there is none."""
    system, _, machine = target.partition("-")
    if system != "linux":
        raise DownloadError(f"there are no official releases of the control plane for {target}")
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
