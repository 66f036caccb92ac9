"""A problem of a pool, as conditions tell it."""

import msgspec

from computepool.model.reasons import Reason


class Problem(msgspec.Struct, frozen=True):
    """Something that a person can do something about."""

    reason: Reason
    message: str
    """What is wrong, and what to do."""
    short: str
    """The same in a few words, for its place behind a worse problem: `nebius (open)`."""
