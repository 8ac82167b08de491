"""Log lines on stderr: plain text, or one JSON object per line for machines."""

import json
import logging
import sys
import time
from contextlib import suppress

from tqdm import tqdm


class JsonFormatter(logging.Formatter):
    """One JSON object per record: ts, level, logger, event, and error where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        entry = {
            "ts": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


class _Handler(logging.Handler):
    """Writes between the lines of a progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):  # a full disk under the log must not stop the work
            tqdm.write(self.format(record), file=sys.stderr)


_settings: list[tuple[int, str]] = []


def settings() -> tuple[int, str] | None:
    """What `configure` was last given, for processes that this one starts."""
    return _settings[-1] if _settings else None


def is_json() -> bool:
    """Whether `configure` was asked for JSON."""
    return bool(_settings) and _settings[-1][1] == "json"


def line(text: str, level: int) -> str:
    """A line for stderr that is no log line: as it is, or as a record where the log is JSON."""
    if not is_json():
        return text
    return JsonFormatter().format(logging.LogRecord("isamap", level, "", 0, text, None, None))


def configure(level: int, log_format: str) -> None:
    """Send isamap's log lines from `level` up, and others' warnings, to stderr."""
    _settings[:] = [(level, log_format)]
    logging.captureWarnings(is_json())
    handler = _Handler()
    text = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")
    handler.setFormatter(JsonFormatter() if log_format == "json" else text)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.WARNING))
    logging.getLogger("isamap").setLevel(level)
