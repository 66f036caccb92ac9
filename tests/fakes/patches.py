"""JSON patch (RFC 6902: test, add, replace, remove) and merge patch (RFC 7386), as far as tests need them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any


class PatchError(Exception):
    """The patch does not apply: the API server answers 422."""


def json_patched(document: Any, operations: Sequence[dict[str, Any]]) -> Any:
    """Return a changed copy. Raises PatchError, also for a `test` that fails."""
    document = copy.deepcopy(document)
    for operation in operations:
        kind, path = operation["op"], operation["path"]
        parent, key = _walk(document, path)
        if kind == "test":
            if _get(parent, key, path) != operation["value"]:
                raise PatchError(f"testing value {path} failed: test failed")
        elif kind == "add":
            _add(parent, key, operation["value"], path)
        elif kind == "replace":
            # As the API server does: replacing a field that is absent adds it.
            if not isinstance(parent, dict):
                _get(parent, key, path)
            parent[key] = copy.deepcopy(operation["value"])
        elif kind == "remove":
            _get(parent, key, path)
            del parent[key]
        else:
            raise PatchError(f"unexpected kind: {kind}")
    return document


def merge_patched(document: Any, patch: Any) -> Any:
    """Return a changed copy: null removes, objects merge, everything else replaces."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patched(result.get(key), value)
    return result


def _walk(document: Any, path: str) -> tuple[Any, Any]:
    """Return the container that the path's last step looks into, and that step as its key."""
    *steps, last = [step.replace("~1", "/").replace("~0", "~") for step in path.split("/")[1:]]
    for step in steps:
        document = _get(document, _key(document, step), path)
    return document, _key(document, last)


def _key(container: Any, step: str) -> Any:
    return int(step) if isinstance(container, list) and step.isdecimal() else step


def _get(container: Any, key: Any, path: str) -> Any:
    try:
        return container[key]
    except (KeyError, IndexError, TypeError) as error:
        raise PatchError(f"the server rejected our request: {path} does not exist") from error


def _add(container: Any, key: Any, value: Any, path: str) -> None:
    value = copy.deepcopy(value)
    if isinstance(container, list) and key == "-":
        container.append(value)
    elif isinstance(container, list) and isinstance(key, int) and key <= len(container):
        container.insert(key, value)
    elif isinstance(container, dict):
        container[key] = value
    else:
        raise PatchError(f"the server rejected our request: cannot add at {path}")
