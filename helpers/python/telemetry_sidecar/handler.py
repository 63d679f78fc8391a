"""Log records as events."""

from __future__ import annotations

import logging
from typing import Any, Dict

from ._emit import emit
from ._span import failure
from ._switch import enabled

# Attributes of every record; others come from ``extra``.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class TelemetryHandler(logging.Handler):
    """Turns log records into events ``log.info``, ``log.error`` and so on.

        logging.getLogger().addHandler(TelemetryHandler(logging.WARNING))

    The metadata has ``message``, ``logger``, ``level``, the attributes given as ``extra`` and, with
    ``exc_info``, ``error_type``, ``error_message`` and ``traceback``. Within a span the event belongs to it.
    The record is still printed by other handlers."""

    def emit(self, record: logging.LogRecord) -> None:
        if not enabled():
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
            emit(f"log.{record.levelname.lower().replace(' ', '_')}", None, metadata)
        except Exception:
            self.handleError(record)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:
        # The arguments do not fit the format.
        return str(record.msg)
