"""One line of JSON per log record, or a readable line on a terminal; never a payload."""

import json
import logging
import os
import sys
import time
from typing import Any

from switchboard_wire.names import ENV_LOG_FORMAT, ENV_LOG_LEVEL

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """`{"time", "level", "logger", "message", …extra}`; fields given as `extra=` become members."""

    def __init__(self, component: str) -> None:
        super().__init__()
        self._component = component

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "component": self._component,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """`12:00:01.234 INFO gateway: message field=value`, for people."""

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created)) + f".{int(record.msecs):03d}"
        extra = "".join(f" {name}={value}" for name, value in vars(record).items() if name not in _STANDARD)
        line = f"{clock} {record.levelname} {record.name}: {record.getMessage()}{extra}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure_logging(component: str) -> None:
    """Send every logger to stderr as the environment asks: SWITCHBOARD_LOG_FORMAT json|text, SWITCHBOARD_LOG_LEVEL."""
    handler = logging.StreamHandler(sys.stderr)
    text = os.environ.get(ENV_LOG_FORMAT, "json") == "text"
    handler.setFormatter(TextFormatter() if text else JsonFormatter(component))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(os.environ.get(ENV_LOG_LEVEL, "INFO").upper())
