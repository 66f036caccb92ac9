"""The time of day of a simulation."""

from math import ceil


class Clock:
    """Moves only when it is told to, and never back."""

    def __init__(self, now: float) -> None:
        """`now`: seconds since the epoch."""
        self.now = now

    def __call__(self) -> float:
        """Return the time of day in seconds since the epoch."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass. The clock has milliseconds, as the operator's annotations do, and rounds up."""
        self.now = max(self.now, ceil((self.now + seconds) * 1000) / 1000)
