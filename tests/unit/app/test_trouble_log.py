"""What the log says of an operator that can't do its work, and how often."""

from __future__ import annotations

from typing import Any

import pytest

from computepool.app.trouble_log import CHANGE_SECONDS, PATIENCE_SECONDS, REPEAT_SECONDS, TroubleLog


class Told:
    """A log of trouble, and a clock that a test moves second by second."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO", "computepool")
        self._caplog = caplog
        self.now = 0.0
        self.log = TroubleLog(lambda: self.now)

    def passes(self, seconds: float, *troubles: str) -> None:
        """Let time pass second by second; `troubles` take turns."""
        for second in range(round(seconds)):
            self.now += 1.0
            self.log.note(troubles[second % len(troubles)])

    def lines(self) -> list[tuple[str, Any]]:
        return [(record.getMessage(), vars(record)["fields"]["trouble"]) for record in self._caplog.records]


def test_trouble_that_passes_soon_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    told = Told(caplog)
    told.passes(PATIENCE_SECONDS, "not listed yet")
    told.passes(600, "")
    assert told.lines() == []


def test_trouble_is_told_when_it_begins_again_after_long_and_when_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    told = Told(caplog)
    told.passes(PATIENCE_SECONDS + 1, "no right")
    assert told.lines() == [("trouble", "no right")]
    told.passes(REPEAT_SECONDS - 1, "no right")
    assert len(told.lines()) == 1
    told.passes(1, "no right")
    told.passes(5, "")
    assert told.lines() == [("trouble", "no right"), ("trouble", "no right"), ("trouble is over", "no right")]


def test_another_trouble_is_told_sooner_and_two_that_take_turns_do_not_fill_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told = Told(caplog)
    told.passes(PATIENCE_SECONDS + 1, "a")
    told.passes(CHANGE_SECONDS, "b")
    assert told.lines() == [("trouble", "a"), ("trouble", "b")]
    told.passes(600, "a", "b")
    assert len(told.lines()) <= 2 + 600 / CHANGE_SECONDS
