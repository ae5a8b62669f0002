"""A host in a process of its own, for the local engine: `python -m realtime.fleet.child`.

Orders come as lines of JSON on standard input, answers go out on what was standard output; whatever a library prints
goes to standard error. The first line says who it is. The end of standard input means that the parent is gone: the host
ends then, and on Linux the system sees to that even where the host hangs.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import signal
import sys
import threading
from typing import IO, TYPE_CHECKING, Any

from realtime.errors import AgfnError
from realtime.fleet.host import StreamHost, session_of
from realtime.system.logs import set_up
from realtime.system.parent import die_with
from realtime.system.threads import limit_pools

if TYPE_CHECKING:
    from realtime.fleet.engine import Json

log = logging.getLogger(__name__)

GOODBYE_S = 5.0
"""So long the streams may take to end once the parent is gone."""


class _Answers:
    """Answers on a pipe, whole lines, from any thread."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe, self._lock = pipe, threading.Lock()

    def say(self, number: int, **body: Any) -> None:  # noqa: ANN401 - JSON
        """Write one; a parent that is gone is noticed by the reader."""
        line = json.dumps({"id": number, **body}, separators=(",", ":")).encode() + b"\n"
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._pipe.write(line)
            self._pipe.flush()


def main() -> int:
    """Serve until the parent says goodbye, or is gone; returns the exit code."""
    orders = sys.stdin.buffer
    answers = _Answers(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)
    hello = json.loads(orders.readline() or b"null")
    if hello is None:
        return 1
    die_with(int(hello["parent"]))
    limit_pools()
    set_up(hello["log_level"], "text")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    try:
        host = StreamHost(hello["name"], session_of(hello["factory"], hello["name"], hello["options"]))
    except AgfnError as error:
        log.error("host %s: %s", hello["name"], error)  # noqa: TRY400 - the one line says it
        return error.exit_code
    answers.say(0, ok={"ready": True})
    changes: queue.SimpleQueue[tuple[int, str, Json] | None] = queue.SimpleQueue()
    worker = threading.Thread(target=_change, args=(host, changes, answers), name="changes", daemon=True)
    worker.start()
    for line in orders:
        order = json.loads(line)
        number, method, arguments = order["id"], order["method"], order["arguments"]
        if method == "report":  # answered beside a slow change: it is the sign of life
            _answer(host, number, method, arguments, answers)
        else:
            changes.put((number, method, arguments))
            if method == "close":
                break
    changes.put(None)
    worker.join(GOODBYE_S)
    if worker.is_alive():
        log.warning("the streams did not end within %.0f s", GOODBYE_S)
    else:
        host.close()
    return 0


def _change(host: StreamHost, changes: queue.SimpleQueue[tuple[int, str, Json] | None], answers: _Answers) -> None:
    while (order := changes.get()) is not None:
        _answer(host, *order, answers)


def _answer(host: StreamHost, number: int, method: str, arguments: Json, answers: _Answers) -> None:
    try:
        found: Json = getattr(host, method)(**arguments)
    except Exception as error:
        log.exception("%s failed", method)
        answers.say(number, error=f"{type(error).__name__}: {error}")
    else:
        answers.say(number, ok=found)


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    os._exit(code)  # no thread of a library holds it up
