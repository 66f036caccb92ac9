"""Log lines, for machines and for people."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from computepool.report.logs import REPEAT_SECONDS, ConsoleFormatter, JsonFormatter, LimitedLog, log, set_up


class Lines(logging.Handler):
    """Keeps what is logged, formatted."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        record.created = 1_795_410_000.123
        self.lines.append(self.format(record))


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    one = logging.getLogger("computepool.test")
    one.setLevel(logging.INFO)
    one.propagate = False
    yield one
    one.handlers.clear()


def written(logger: logging.Logger, formatter: logging.Formatter, message: str, **fields: Any) -> str:
    lines = Lines(formatter)
    logger.addHandler(lines)
    log(logger, logging.INFO, message, **fields)
    (line,) = lines.lines
    return line


def test_a_json_line_has_time_level_message_and_the_fields(logger: logging.Logger) -> None:
    line = json.loads(written(logger, JsonFormatter(), "burst", pool="inference", pods=3, took_ms=12.5))
    assert line == {
        "time": "2026-11-23T05:00:00.123Z",
        "level": "info",
        "logger": "computepool.test",
        "message": "burst",
        "pool": "inference",
        "pods": 3,
        "took_ms": 12.5,
    }


def test_a_console_line_is_read_from_left_to_right(logger: logging.Logger) -> None:
    line = written(logger, ConsoleFormatter(), "burst", pool="inference", pods=3)
    assert line == "05:00:00.123 INFO    burst  pool=inference pods=3"


@pytest.mark.parametrize("formatter", [JsonFormatter(), ConsoleFormatter()])
def test_a_field_without_a_value_is_left_out(logger: logging.Logger, formatter: logging.Formatter) -> None:
    assert "provider" not in written(logger, formatter, "burst", provider=None)


@pytest.mark.parametrize("formatter", [JsonFormatter(), ConsoleFormatter()])
def test_a_line_stays_one_line_whatever_it_says(logger: logging.Logger, formatter: logging.Formatter) -> None:
    line = written(logger, formatter, "write refused", error="first\nsecond\tthird \x1b[31m")
    assert len(line.splitlines()) == 1
    assert "\x1b" not in line


def test_values_with_spaces_are_quoted_on_the_console(logger: logging.Logger) -> None:
    line = written(logger, ConsoleFormatter(), "write refused", error="422 Invalid: no", pods=1)
    assert line.endswith('error="422 Invalid: no" pods=1')


def test_a_traceback_is_part_of_its_line_in_json(logger: logging.Logger) -> None:
    lines = Lines(JsonFormatter())
    logger.addHandler(lines)
    try:
        raise ValueError("broken")
    except ValueError:
        logger.exception("write ended")
    (line,) = lines.lines
    assert "ValueError: broken" in json.loads(line)["exception"]


def test_nothing_is_put_together_for_a_level_that_is_not_logged(logger: logging.Logger) -> None:
    class Costly:
        def __repr__(self) -> str:
            raise AssertionError("formatted for nobody")

    log(logger, logging.DEBUG, "quiet", value=Costly())


@pytest.mark.parametrize(("fmt", "kind"), [("json", JsonFormatter), ("console", ConsoleFormatter)])
def test_set_up_sends_everything_to_standard_error_in_one_form(fmt: str, kind: type[logging.Formatter]) -> None:
    root, kopf = logging.getLogger(), logging.getLogger("kopf")
    before, levels = root.handlers[:], (root.level, kopf.level)
    try:
        set_up(fmt, "warning")
        (handler,) = root.handlers
        assert isinstance(handler.formatter, kind)
        assert root.level == logging.WARNING
        assert not logging.getLogger("kopf.anything").isEnabledFor(logging.ERROR)
    finally:
        root.handlers[:] = before
        root.setLevel(levels[0])
        kopf.setLevel(levels[1])


def test_a_failure_that_repeats_is_written_once_a_minute_and_at_once_after_it_was_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seconds = iter(range(100, 1000))
    limited = LimitedLog(logging.getLogger("computepool.test"), lambda: next(seconds) / 2)
    # Each line reads the clock once: half a second passes for each line, a second for each round.
    for _ in range(3 * round(REPEAT_SECONDS)):
        limited.warn("not listed", error="no")
        limited.warn("not sent", error="no")
    assert [record.getMessage() for record in caplog.records] == ["not listed", "not sent"] * 3
    limited.over()
    limited.warn("not listed", error="no")
    assert len(caplog.records) == 7
