"""Reads from the API server's audit log which client wrote what to a cluster, and when.

audit = Audit(folder)
with Cluster(options=Options(extra_flags={APISERVER: audit.flags()})) as cluster:
    ...
    audit.writes(user="system:serviceaccount:computepool-system:computepool")
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

Json = dict[str, Any]

WRITES = ("create", "update", "patch", "delete", "deletecollection")
CREDENTIAL = "authentication.kubernetes.io/credential-id"


@dataclass(frozen=True)
class Write:
    """One request that changes something, and how it was answered."""

    verb: str
    resource: str
    """Such as "pods" or "pods/eviction"."""
    namespace: str
    name: str
    code: int
    at: float
    """When the API server received it, in seconds since the epoch."""
    user: str
    credential: str
    """What tells one token of the same user from another; see `credential_of`."""


class Audit:
    """An audit log of all writes but those of events."""

    def __init__(self, folder: Path) -> None:
        """Keep policy and log in a folder that is there."""
        self._policy = folder / "audit-policy.yaml"
        self._log = folder / "audit.log"
        rules = [
            {"level": "None", "resources": [{"group": "events.k8s.io"}, {"group": "", "resources": ["events"]}]},
            {"level": "Metadata", "verbs": list(WRITES)},
        ]
        policy = {
            "apiVersion": "audit.k8s.io/v1",
            "kind": "Policy",
            "omitStages": ["RequestReceived", "ResponseStarted"],
            "rules": rules,
        }
        self._policy.write_text(yaml.safe_dump(policy))

    def flags(self) -> list[str]:
        """What the API server must be started with."""
        return [
            f"--audit-policy-file={self._policy}",
            f"--audit-log-path={self._log}",
            "--audit-log-mode=blocking",
        ]

    def writes(self, *, user: str | None = None, credential: str | None = None) -> list[Write]:
        """All writes so far, in the order they were answered; of one user, or of one token."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        found = [_write(json.loads(line)) for line in lines]
        return [write for write in found if user in (None, write.user) and credential in (None, write.credential)]


def credential_of(token: str) -> str:
    """What the audit log calls a ServiceAccount's token by."""
    body = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return f"JTI={claims['jti']}"


def _write(entry: Json) -> Write:
    about = entry.get("objectRef", {})
    resource = about.get("resource", "")
    if sub := about.get("subresource"):
        resource = f"{resource}/{sub}"
    return Write(
        verb=entry["verb"],
        resource=resource,
        namespace=about.get("namespace", ""),
        name=about.get("name", ""),
        code=int(entry.get("responseStatus", {}).get("code", 0)),
        at=datetime.fromisoformat(entry["requestReceivedTimestamp"]).timestamp(),
        user=entry["user"].get("username", ""),
        credential=next(iter(entry["user"].get("extra", {}).get(CREDENTIAL, [])), ""),
    )
