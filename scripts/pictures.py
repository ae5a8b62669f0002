"""Make the pictures of the documents: terminal, dashboard and report, of the demo clip and the weights that ship.

python -m scripts.pictures [--out docs]

The program runs on the clip at full speed, so that the pictures do not depend on how fast the machine is. The terminal
is drawn of its messages while the camera is lost; the dashboard gets them through a broker at their own pace, twice: a
second stream is LATER_S behind, so that at the end the one drowns in noise and the other has lost its camera; the
report is made of the recording. Needs mosquitto and Chromium, and half a minute.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from realtime.dashboard.server import Dashboard
from realtime.demo.clip import DemoPlan, clip
from realtime.publish.messages import EventMessage, Sentiment
from realtime.report.__main__ import main as report
from realtime.terminal.render import UNICODE, draw
from realtime.terminal.view import StreamHistory
from realtime.types import NS_PER_S
from scripts.harness.browser import Tab, chromium
from scripts.harness.mosquitto import Mosquitto, Subscriber, free_port

if TYPE_CHECKING:
    from collections.abc import Sequence

    from playwright.sync_api import Browser

Line = tuple[float, dict[str, Any]]
"""When a message came, in seconds of the stream, and the message."""
ROOT = Path(__file__).resolve().parent.parent
STREAM, OTHER = "desk", "kitchen"
LATER_S = 12.0
COLUMNS = 100
BROKER = "mqtt://127.0.0.1:1883"
_HTML = (
    "<!doctype html><meta charset=utf-8><style>body {{ margin: 0; padding: 10px 4px; width: 992px; "
    "background: {background}; color: {foreground} }} "
    "pre {{ font: 16.3px/20px 'DejaVu Sans Mono', monospace; margin: 0 }} {stylesheet}</style>"
    "<pre><code>{code}</code></pre>"
)


def recorded(film: Path, folder: Path) -> list[Line]:
    """Run the program on a film, recording into a folder; returns its messages in order."""
    output = folder / "messages.jsonl"
    options = ["--source", film, "--pace", "fast", "--mqtt", "off", "--no-view", "--output", output]
    options += ["--publish-text", "--record", folder / "session", "--record-text"]
    subprocess.run([sys.executable, "-m", "realtime.run", *map(str, options)], check=True, stdout=subprocess.DEVNULL)
    found: list[Line] = []
    now_s = 0.0
    for text in output.read_text(encoding="utf-8").splitlines():
        body = json.loads(text)
        now_s = max(now_s, body["window"]["end_s"] if "window" in body else body.get("time_s", now_s))
        found.append((now_s, body))
    return found


def terminal(browser: Browser, lines: Sequence[Line], at_s: float, out: Path) -> None:
    """Draw the terminal's screen as it is at a second of the stream."""
    history = StreamHistory(STREAM)
    for now_s, body in lines:
        if now_s <= at_s and body["schema"].startswith("agfn.sentiment/"):
            history.sentiment(Sentiment.model_validate(body), int(now_s * NS_PER_S))
        elif now_s <= at_s and body["schema"].startswith("agfn.event/"):
            history.event(EventMessage.model_validate(body))
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(draw([history.snapshot(int(at_s * NS_PER_S))], BROKER, (), UNICODE, COLUMNS))
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "terminal.html"
        page.write_text(console.export_html(code_format=_HTML, theme=_theme()), encoding="utf-8")
        tab = Tab(browser, page.as_uri(), width=1000, height=100)
        tab.page.screenshot(path=out, full_page=True)
        tab.close()


def _theme() -> Any:  # noqa: ANN401 - rich keeps its type to itself
    from rich.terminal_theme import MONOKAI  # noqa: PLC0415 - for this picture only

    return MONOKAI


def dashboard(browser: Browser, lines: Sequence[Line], until_s: float, out: Path) -> None:
    """Photograph the dashboard after so many seconds of two streams, one later than the other."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        options = [f"listener {port} 127.0.0.1", "protocol websockets", "allow_anonymous true"]
        broker = Mosquitto(Path(folder), options)
        sender = Subscriber(broker.port, "agfn/none/none")
        page = Dashboard(0, "agfn", None, f"ws://127.0.0.1:{port}")
        try:
            tab = Tab(browser, page.url, width=1180, height=100)
            tab.wait("document.querySelector('#connection').dataset.state === 'connected'")
            both = [(at_s, STREAM, body) for at_s, body in lines]
            both += [(at_s + LATER_S, OTHER, body | {"stream": OTHER}) for at_s, body in lines]
            begun_s = time.monotonic()
            for at_s, stream, body in sorted(both, key=lambda each: each[0]):
                if at_s > until_s:
                    break
                time.sleep(max(0.0, begun_s + at_s - time.monotonic()))
                kind = body["schema"].split(".")[1].split("/")[0]
                sender.say(f"agfn/{stream}/{kind}", json.dumps(body).encode())
            time.sleep(0.5)  # the page draws four times a second
            tab.page.screenshot(path=out, full_page=True)
            tab.close()
        finally:
            page.close()
            sender.close()
            broker.close()


def main() -> None:
    """Make all three."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--out", type=Path, default=ROOT / "docs")
    args = cli.parse_args()
    plan = DemoPlan()
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        lines = recorded(clip(), Path(folder))
        terminal(browser, lines, plan.camera_lost_s[1] - 1, args.out / "terminal.png")
        page = Path(folder) / "report.html"
        report([str(Path(folder) / "session"), "-o", str(page)])
        tab = Tab(browser, page.as_uri(), width=1000, height=900)
        tab.page.screenshot(path=args.out / "report.png")
        tab.close()
        dashboard(browser, lines, plan.noise_s[1] - 1, args.out / "dashboard.png")
    print(json.dumps({"pictures": ["terminal.png", "report.png", "dashboard.png"]}))


if __name__ == "__main__":
    main()
