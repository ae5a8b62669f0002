"""Command line of the desktop overlay: `python -m realtime.overlay`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from realtime.errors import AgfnError, UsageError
from realtime.overlay.needs import check_needs
from realtime.system.logs import say_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime.config.schema import MqttConfig
    from realtime.publish.access import Access

EPILOG = """Hold Ctrl+Shift with the pointer over the overlay, or use its tray icon, to move it, to make it larger, to
pause the analysis, and to close it. The password of a broker is read from AGFN_MQTT_PASSWORD or mqtt.password_file."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the overlay and return its exit code."""
    cli = argparse.ArgumentParser(
        prog="python -m realtime.overlay",
        description="Show the sentiment of a stream over the desktop.",
        epilog=EPILOG,
        allow_abbrev=False,
    )
    cli.add_argument(
        "--mqtt", metavar="URL", help="mqtt://host[:port] or mqtts://[user@]host[:port] (default: this machine)"
    )
    cli.add_argument("--base", help="first part of the topics (default agfn)")
    cli.add_argument("--stream", metavar="NAME", help="stream to follow (default the first one heard)")
    cli.add_argument("--config", type=Path, metavar="FILE", help="configuration file of realtime.run, for its broker")
    cli.add_argument("--follow-stdin", action="store_true", help=argparse.SUPPRESS)
    args = cli.parse_args(argv)
    try:
        check_needs()
        from realtime.config.load import load  # noqa: PLC0415 - --help must answer at once

        config = load(args.config, (), {"mqtt": _options(args)})[0].mqtt
        access = _access(config)
        from realtime.overlay.main import show  # noqa: PLC0415 - Qt is there, as was checked

        return show(access, config.base, args.stream, follow_stdin=args.follow_stdin)
    except AgfnError as error:
        say_error(error)
        return error.exit_code


def _options(args: argparse.Namespace) -> dict[str, Any]:
    return {key: value for key, value in (("url", args.mqtt), ("base", args.base)) if value is not None}


def _access(config: MqttConfig) -> Access:
    from realtime.publish.access import Access, access_of  # noqa: PLC0415 - as above

    if config.url == "off":
        raise UsageError("the overlay shows what comes over MQTT: give it a broker with --mqtt mqtt://HOST")
    return Access("127.0.0.1", config.port) if config.url == "embedded" else access_of(config)


if __name__ == "__main__":
    sys.exit(main())
