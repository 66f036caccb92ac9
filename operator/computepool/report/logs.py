"""Log lines: JSON for machines, one readable line for a console."""

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from computepool.model.text import rfc3339

REPEAT_SECONDS: Final = 60.0
_FIELDS = "fields"
_QUOTED = frozenset(' "=')


def log(logger: logging.Logger, level: int, message: str, **fields: Any) -> None:
    """Write one line with named fields; a field that is None is left out."""
    if logger.isEnabledFor(level):
        logger.log(level, message, extra=_extra(fields))


def log_failure(logger: logging.Logger, message: str, failure: BaseException, /, **fields: Any) -> None:
    """Write one line about an unexpected error, with its traceback."""
    logger.error(message, exc_info=failure, extra=_extra({**fields, "error": repr(failure)}))


def _extra(fields: dict[str, Any]) -> dict[str, Any]:
    return {_FIELDS: {name: value for name, value in fields.items() if value is not None}}


class LimitedLog:
    """Warnings about something that fails again and again: the same message at most once in REPEAT_SECONDS."""

    def __init__(self, logger: logging.Logger, clock: Callable[[], float]) -> None:
        """`clock` is monotonic."""
        self._logger = logger
        self._clock = clock
        self._last: dict[str, float] = {}

    def warn(self, message: str, **fields: Any) -> None:
        """Write the line, unless a line with this message was written recently."""
        now = self._clock()
        if now - self._last.get(message, float("-inf")) >= REPEAT_SECONDS:
            self._last[message] = now
            log(self._logger, logging.WARNING, message, **fields)

    def over(self) -> None:
        """Note that nothing fails any more: the next failure is written at once."""
        self._last.clear()


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message and the line's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": rfc3339(record.created, "milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, _FIELDS, {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class ConsoleFormatter(logging.Formatter):
    """Time, level, message, then the fields as name=value."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields = " ".join(f"{name}={_value(value)}" for name, value in getattr(record, _FIELDS, {}).items())
        time = datetime.fromtimestamp(record.created, UTC)
        text = f"{time:%H:%M:%S.%f}"[:-3] + f" {record.levelname:<7} {record.getMessage()}"
        if fields:
            text += f"  {fields}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text


def set_up(fmt: str, level: str) -> None:
    """Send all logs to standard error in the format `json` or `console`."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if fmt == "json" else ConsoleFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    # kopf logs every object and every attempt. The operator logs itself why kopf ended.
    logging.getLogger("kopf").setLevel(logging.CRITICAL)


def _value(value: object) -> str:
    """Quote text that would not be read as one value. So no foreign message can start a line of its own."""
    text = str(value)
    return text if text.isprintable() and not set(text) & _QUOTED else json.dumps(text)
