"""What to do about an answer by which the API server does not let the operator do its work."""

from __future__ import annotations

import pytest

from computepool.kube.denial import is_denied, with_advice
from computepool.kube.errors import ApiError, Conflict, Forbidden, NotFound, Unauthorized, Unavailable

RBAC = 'pods "web" is forbidden: User "system:serviceaccount:a:b" cannot patch resource "pods" in API group "" in x'


@pytest.mark.parametrize(
    ("error", "denied", "advice"),
    [
        (Forbidden(403, "Forbidden", RBAC), True, "; let the operator's ServiceAccount patch pods: helm upgrade "),
        (Forbidden(403, "Forbidden", 'denied by admission webhook "x"'), True, ""),
        (Unauthorized(401, "Unauthorized", "no"), True, "; check the token or the kubeconfig"),
        (NotFound(404, "NotFound", "no such kind"), True, ""),
        (Conflict(409, "Conflict", "it has changed"), False, ""),
        (Unavailable(503, "Unavailable", "etcd is away"), False, ""),
    ],
)
def test_only_what_a_person_can_mend_is_denied_and_the_right_is_named(
    error: ApiError, denied: bool, advice: str
) -> None:
    assert is_denied(error) is denied
    text = with_advice(error)
    assert text.startswith(str(error))
    assert text.removeprefix(str(error)).startswith(advice)
    assert bool(text.removeprefix(str(error))) is bool(advice)
