"""Hosts the embedded broker: starts it, and ends it with whoever holds the other end of standard input.

Run as a file, by nothing but the standard library, so that it is there at once:
`python -I -S broker_child.py PROGRAM CONFIG FOLDER`. A byte on standard input is the goodbye of a parent that ends as
it should; its end without one means that the parent died.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

WILLS_S = 0.3
"""After a parent's sudden death the broker still hands out its last wills."""
GOODBYE_S = 1.0
PR_SET_PDEATHSIG = 1


def main(program: str, config: str, folder: str) -> int:
    """Run the broker to its end, then leave nothing of it behind; returns its exit code."""
    ours = os.getpid()
    broker = subprocess.Popen(  # noqa: S603 - the broker that our parent has chosen
        [program, "-c", config],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=(lambda: _die_with(ours)) if sys.platform == "linux" else None,  # noqa: PLW1509 - no thread runs yet
    )
    over = threading.Event()
    threading.Thread(target=_follow, args=(broker, over), daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: broker.terminate())
    if hasattr(signal, "SIGHUP"):  # it is to read its configuration anew
        signal.signal(signal.SIGHUP, lambda *_: broker.send_signal(signal.SIGHUP))
    code = broker.wait()
    if over.is_set():
        import shutil  # noqa: PLC0415 - at the end, not before the broker is up

        shutil.rmtree(folder, ignore_errors=True)
    return code


def _die_with(parent: int) -> None:
    """Let the system kill this process when its parent dies, however that happens (Linux)."""
    import ctypes  # noqa: PLC0415 - as above

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _follow(broker: subprocess.Popen[bytes], over: threading.Event) -> None:
    if not os.read(sys.stdin.fileno(), 1):
        time.sleep(WILLS_S)
    over.set()
    broker.terminate()
    try:
        broker.wait(GOODBYE_S)
    except subprocess.TimeoutExpired:
        broker.kill()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
