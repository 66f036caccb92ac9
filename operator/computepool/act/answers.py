"""Reading what the API server answered, where something in between may have answered in its place."""

from typing import TypeVar

import msgspec

from computepool.kube.errors import Unavailable

T = TypeVar("T")


def decoded(decoder: msgspec.json.Decoder[T], answer: bytes, request: str) -> T:
    """Decode a good answer. Raises Unavailable, and so is tried again, for one that no API server gives.

    `request` is the verb and the path, for the message.
    """
    try:
        return decoder.decode(answer)
    except msgspec.MsgspecError as error:
        message = f"not what a Kubernetes API server sends: {error}"
        raise Unavailable(200, "Garbled", message, request=request) from error
