"""Writes a kubeconfig for one user of one cluster."""

from __future__ import annotations

from pathlib import Path

import yaml


def write(path: Path, *, server: str, ca_file: Path, token: str, namespace: str = "default") -> Path:
    """Write a kubeconfig that only its owner may read, and return its path."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "e2e",
        "clusters": [{"name": "e2e", "cluster": {"server": server, "certificate-authority": str(ca_file)}}],
        "users": [{"name": "e2e", "user": {"token": token}}],
        "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": "e2e", "namespace": namespace}}],
    }
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path
