"""Answers by which the API server does not let the operator do its work, and what to do about them."""

import re
from typing import Final

from computepool.kube.errors import ApiError, Forbidden, NotFound, Unauthorized

_NO_RIGHT: Final = re.compile(r'cannot (\w+) resource "([^"]+)"')
"""How RBAC's refusals begin; those of admission policies and webhooks have no such words."""
RESTORE: Final = "helm upgrade restores the chart's roles (rbac.create)"


def is_denied(error: ApiError) -> bool:
    """Say whether a list, a watch or a write of all objects of a kind will fail until a person changes something."""
    return isinstance(error, Forbidden | NotFound | Unauthorized)


def lacks_right(error: ApiError) -> bool:
    """Say whether RBAC refuses, whatever the request has in it."""
    return isinstance(error, Forbidden) and _NO_RIGHT.search(error.message) is not None


def with_advice(error: ApiError) -> str:
    """Return the error as one line, with what to do about it where that is known."""
    advice = _advice(error)
    return f"{error}; {advice}" if advice else str(error)


def _advice(error: ApiError) -> str:
    if isinstance(error, Unauthorized):
        return "check the token or the kubeconfig"
    if isinstance(error, Forbidden) and (right := _NO_RIGHT.search(error.message)):
        verb, resource = right.groups()
        return f"let the operator's ServiceAccount {verb} {resource}: {RESTORE}"
    return ""
