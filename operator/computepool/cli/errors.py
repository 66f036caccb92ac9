"""Errors of the API server, as sentences that say what to do."""

import re

from computepool.kube.errors import ApiError, Forbidden, NotFound, Unauthorized

NEEDS_POOLS = "list computepools"
NEEDS_CLUSTER = (
    "list computepools, namespaces, nodes and pods in the whole cluster, such as by the ClusterRole "
    "computepool-explainer of the chart"
)


class ToldError(Exception):
    """What a command can't do; the message is the sentence for the person who ran the command."""


# aiohttp adds its TLS context to the message, which helps no reader.
_TLS = re.compile(r" ssl:(<[^>]*>|\S+)")


def sentence(error: ApiError, needs: str) -> str:
    """Return the sentence for a person who ran a command. `needs`: the rights of this command, such as `list nodes`."""
    match error:
        case ApiError(status=0, reason="NoConnection" | "Timeout"):
            message = _TLS.sub("", error.message)
            return f"the API server does not answer: {message}. Check the kubeconfig, and that the cluster runs."
        case ApiError(status=0, reason="Certificate"):
            return (
                f"the server's certificate is not accepted: {error.message}. Check the kubeconfig's "
                "`server`, `certificate-authority` and `tls-server-name`."
            )
        case Unauthorized():
            return f"the API server does not accept the credentials: {error.message}. Check the kubeconfig."
        case Forbidden():
            return f"{error.message}. This command needs the right to {needs}."
        case NotFound():
            return "the cluster knows no ComputePools: install the chart or the CRD first."
    return str(error)
