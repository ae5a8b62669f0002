"""Command line of a fleet: `python -m realtime.fleet up --config configs/fleet.yaml`, and what it may be told then.

Exit codes as those of `python -m realtime.run`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import signal
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from realtime.errors import AgfnError, UsageError
from realtime.system.logs import printable, say_error, set_up
from realtime.system.threads import leave, limit_pools

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime.fleet.config import FleetConfig

DEFAULT = Path("fleet")


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser; nothing heavy is imported for it."""
    cli = argparse.ArgumentParser(prog="python -m realtime.fleet", description="Streams on many hosts; docs/fleet.md.")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--config", type=Path, default=DEFAULT, metavar="FILE", help="the fleet (default configs/fleet.yaml)"
    )
    shared.add_argument("--log-level", choices=["debug", "info", "warning", "error"], default="info")
    shared.add_argument("--log-format", choices=["text", "json"], default="text")
    commands = cli.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, what: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, parents=[shared], help=what, description=what)

    command("up", "run the fleet until Ctrl-C, SIGTERM or `down`")
    pool = command("pool", "run a recogniser that decodes for the hosts of fleets")
    pool.add_argument("--listen", required=True, metavar="HOST:PORT|unix:/PATH", help="where hosts reach it")
    status = command("status", "show hosts and streams")
    status.add_argument("--json", action="store_true", help="as the fleet says it")
    add = command("add", "add a stream, or change one")
    add.add_argument("name")
    add.add_argument("--camera", metavar="URL|N", help="as for agfn-live")
    add.add_argument("--mic", metavar="NAME", help="as for agfn-live; auto with a network camera")
    add.add_argument("--source", metavar="FILE", help="a media file that every host has")
    add.add_argument("--label", action="append", default=[], metavar="KEY=VALUE", help="its host must have it")
    command("remove", "end a stream for good").add_argument("name")
    for name, what in (("drain", "empty a host, for an upgrade"), ("undrain", "let a host take streams again")):
        command(name, what).add_argument("host")
    move = command("move", "move a stream to a host")
    move.add_argument("name")
    move.add_argument("host")
    command("down", "end the fleet; its streams are known to the next `up`")
    return cli


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    args = parser().parse_args(sys.argv[1:] if argv is None else list(argv))
    set_up(args.log_level, args.log_format)
    try:
        return _run(args)
    except AgfnError as error:
        say_error(error)
        return error.exit_code


def _run(args: argparse.Namespace) -> int:
    from realtime.config.profiles import profile  # noqa: PLC0415 - --help must answer at once
    from realtime.fleet.config import read_fleet  # noqa: PLC0415 - as above

    config = read_fleet(profile(args.config))
    if args.command == "up":
        return _up(config, args.log_level)
    if args.command == "pool":
        from realtime.fleet.asr_pool import serve  # noqa: PLC0415 - as above

        limit_pools()
        serve(config, args.listen)
        return 0
    from realtime.fleet.control import ask_status, give_order  # noqa: PLC0415 - as above
    from realtime.fleet.fleet import stated, table  # noqa: PLC0415
    from realtime.publish.access import access_of  # noqa: PLC0415

    settings = config.config()
    access = access_of(settings.mqtt)
    if args.command == "status":
        status = _wait_for(ask_status(access, settings.mqtt.base, config.name))
        if not stated(status):
            raise AgfnError(f"{access.url}: what is retained for fleet {config.name} is no status")
        _say(json.dumps(status) if args.json else table(status))
        return 0
    from realtime.fleet.topics import Order  # noqa: PLC0415 - as above

    order = Order.model_validate({"id": secrets.token_hex(8), "command": args.command, **_given(args)})
    _wait_for(give_order(access, settings.mqtt.base, config.name, order))
    return 0


def _up(config: FleetConfig, log_level: str) -> int:
    from realtime.fleet.fleet import Fleet, engine_of  # noqa: PLC0415 - as above

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with ExitStack() as stack:
        links = config.asr_pool.links() if config.asr_pool.is_on else None
        if config.asr_pool.processes:
            from realtime.fleet.asr_processes import AsrProcesses  # noqa: PLC0415 - as above

            processes = AsrProcesses(config, log_level)
            stack.callback(processes.close)
            links = processes.links()
        engine = engine_of(config, log_level=log_level, asr_pool=links)
        try:
            fleet = Fleet(config, engine)
        except BaseException:
            engine.close()
            raise
        fleet.run(stop)
    return 0


def _given(args: argparse.Namespace) -> dict[str, Any]:
    if args.command != "add":
        return {key: getattr(args, key) for key in ("name", "host") if hasattr(args, key)}
    from realtime.fleet.config import read_stream  # noqa: PLC0415 - as above

    values: dict[str, Any] = {"name": args.name, "camera": args.camera, "labels": _labels(args.label)}
    if args.source is not None:
        values["source"] = args.source
    values["mic"] = args.mic or ("auto" if args.camera else None)
    if args.source is None and values["camera"] is None and values["mic"] is None:
        raise UsageError("add: give --camera, --mic or --source")
    stream = read_stream(values)  # said here, before it goes out
    return {"stream": stream.model_dump(mode="json")}


def _labels(given: Sequence[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    if wrong := [
        text for text, (key, equals, value) in zip(given, pairs, strict=True) if not (key and equals and value)
    ]:
        raise UsageError(f"--label {wrong[0]}: write KEY=VALUE")
    return {key: value for key, _, value in pairs}


def _wait_for(work: Any) -> Any:  # noqa: ANN401 - a coroutine and what it returns
    loop = asyncio.SelectorEventLoop()  # paho's sockets need add_reader
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


def _say(text: str) -> None:
    print("\n".join(printable(line) for line in text.splitlines()))  # noqa: T201 - what was asked for


if __name__ == "__main__":
    leave(main())
