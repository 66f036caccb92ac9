"""What is wrong with a pool: the worst in full, everything else in a few words, so that nothing hides behind it."""

from collections.abc import Sequence

import msgspec

from computepool.model.api.base import MAX_MESSAGE
from computepool.model.reasons import Reason
from computepool.model.text import cut

MAX_BRIEF = 160
"""Characters of what is told of each trouble but the worst."""


class Trouble(msgspec.Struct, frozen=True):
    """One thing that a person can do something about."""

    reason: Reason
    message: str
    """What is wrong, and what to do."""
    brief: str
    """The same beside something worse: `nebius (open)`."""


def told(troubles: Sequence[Trouble]) -> str:
    """Return the message about these, at least one, worst first: all of the first, and that there are others."""
    first, *others = troubles
    if not others:
        return full_stop(first.message)
    also = " Also " + full_stop("; ".join(f"{one.reason}: {cut(one.brief, MAX_BRIEF)}" for one in others))
    # However long the first is: that there are others is not what is cut off.
    return cut(full_stop(first.message), max(MAX_MESSAGE - len(also), MAX_MESSAGE // 3)) + also


def full_stop(words: str) -> str:
    """End a sentence that may have no end, such as the API server's."""
    return words if words.endswith((".", "!", "?", "…")) else f"{words}."
