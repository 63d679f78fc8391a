"""Log records as events."""

from __future__ import annotations

import logging
from typing import Any, Dict

from ._emit import emit
from ._span import failure
from ._values import text
from ._writer import writer

# Attributes of every record; others come from ``extra``.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class TelemetryHandler(logging.Handler):
    """Turns log records into events ``log.info``, ``log.error`` and so on.

        logging.getLogger().addHandler(TelemetryHandler(logging.WARNING))

    The metadata has ``message``, ``logger``, ``level``, the attributes given as ``extra`` and, with
    ``exc_info``, ``error_type``, ``error_message`` and ``traceback``. Within a span the event belongs to it.
    The record is still printed by other handlers."""

    def emit(self, record: logging.LogRecord) -> None:
        if not writer.on:
            return
        try:
            metadata: Dict[str, Any] = {
                "message": _message(record),
                "logger": record.name,
                "level": record.levelname,
            }
            extra = {key: value for key, value in vars(record).items() if key not in _STANDARD}
            metadata.update((key, value) for key, value in extra.items() if key not in metadata)
            if record.exc_info and record.exc_info[1] is not None:
                metadata.update(failure(record.exc_info[1]))
            emit(f"log.{text(record.levelname).lower().replace(' ', '_')}", None, metadata)
        except Exception:
            # Not handleError, which prints a traceback to stderr.
            writer.dropped += 1


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:
        # The arguments do not fit the format.
        return text(record.msg)
