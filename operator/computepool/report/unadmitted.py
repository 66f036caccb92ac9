"""What is said of a cluster without the policy that admits new pods to standbys.

Pending pods are patched then, which does the same a little later. So it is no trouble, save where somebody asked for
it (WhenSaturated is the default, Always is not) and could have it.
"""

from enum import StrEnum

from computepool.model.api import AdmissionMode


class Without(StrEnum):
    """Why new pods are not admitted as they are created, in words."""

    UNSERVED = (
        "New pods are not admitted to standbys as they are created, but patched once they are pending: this API server "
        "does not serve MutatingAdmissionPolicy v1, which Kubernetes has from 1.36 on."
    )
    UNUSED = (
        "New pods are not admitted to standbys as they are created, but patched once they are pending: there is no "
        "MutatingAdmissionPolicy computepool-burst. Unless the chart's value admissionPolicy.enabled is false, helm "
        "upgrade installs it."
    )
    MISSED = "New pods are not admitted to standbys as they are created: Degraded says why."


def without_policy(mode: AdmissionMode, *, missing: bool, unserved: bool) -> Without | None:
    """Say what a pool with that mode lacks; None where it lacks nothing that it asks for.

    `missing`: there is no policy; `unserved`: as the API server does not even know the kind.
    """
    if mode is AdmissionMode.OFF or not missing:
        return None
    if unserved:
        return Without.UNSERVED
    return Without.MISSED if mode is AdmissionMode.ALWAYS else Without.UNUSED
