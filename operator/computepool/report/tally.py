"""Notes that say how many: they are added up while they wait to be sent, so that no number is lost or told twice."""

from collections.abc import Mapping

import msgspec


class Tally(msgspec.Struct, frozen=True):
    """`3 running pod(s) moved: 1 from nebius to aws, 2 from nebius to crusoe. The pod's provider has failed.`"""

    words: str
    """What was done to how many: `running pod(s) moved`."""
    counts: Mapping[str, int]
    """By where: `from nebius to crusoe`."""
    after: str
    """A sentence about all of them."""
    before: str = ""

    def __str__(self) -> str:
        """Write the note."""
        where = ", ".join(f"{count} {way}" for way, count in sorted(self.counts.items()))
        return f"{self.before}{sum(self.counts.values())} {self.words}: {where}. {self.after}"

    @property
    def kind(self) -> str:
        """What has to be the same of two that are added up."""
        return f"{self.before}{self.words}. {self.after}"

    def plus(self, other: "Tally") -> "Tally":
        """Return both in one. They are of one kind."""
        ways = {**self.counts, **other.counts}
        counts = {way: self.counts.get(way, 0) + other.counts.get(way, 0) for way in ways}
        return msgspec.structs.replace(self, counts=counts)
