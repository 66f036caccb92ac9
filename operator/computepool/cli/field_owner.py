"""Gives up the ownership of fields that a command has changed for a while.

The API server notes who wrote a field last (`metadata.managedFields`). A list such as `spec.providers` is one field. So
after a command has set and removed a part of it, the command owns the list, and the next `kubectl apply --server-side`
of a changed manifest would be refused as a conflict with the command.
"""

from typing import Any, Final

import msgspec

from computepool.kube import paths
from computepool.kube.client import ApiClient
from computepool.kube.errors import ApiError, decoded

_OBJECT: Final = msgspec.json.Decoder(dict[str, Any])


async def disown(client: ApiClient, pool: str, manager: str) -> bool:
    """Remove the manager's entry; return whether it is gone. A failure harms nothing: it can be tried again, and
    `kubectl apply --server-side --force-conflicts` takes the fields over.
    """
    path = f"{paths.POOLS}/{pool}"
    try:
        stored = decoded(_OBJECT, await client.get(path), request=f"GET {path}")
        entries = stored["metadata"].get("managedFields") or []
        for at, entry in enumerate(entries):
            if entry.get("manager") == manager and not entry.get("subresource"):
                patch = [
                    {"op": "test", "path": f"/metadata/managedFields/{at}/manager", "value": manager},
                    {"op": "remove", "path": f"/metadata/managedFields/{at}"},
                ]
                await client.json_patch(path, patch, {"fieldManager": manager})
    except ApiError:
        return False
    return True
