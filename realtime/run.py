"""Command line of AGFN Live: `agfn-live --camera 0`, or `python -m realtime.run --camera 0`.

Exit codes: 0 ended or stopped by the user, 1 an error of the program, 2 wrong option or configuration, 3 unreadable
file, 4 the broker refuses, 5 a model file is missing or damaged. A camera or microphone that fails never ends it.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from realtime.errors import AgfnError, ModelError, UsageError
from realtime.system.address import refuse_secret, without_addresses
from realtime.system.logs import printable, say_error, set_up
from realtime.system.malloc import return_freed
from realtime.system.threads import leave, limit_pools

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime.config.schema import Config

EPILOG = """agfn-live doctor checks this machine and says what to do.
agfn-live streams list|add|remove changes the streams of a program that runs.
exit codes: 0 ended or stopped, 1 error of the program, 2 wrong option or configuration, 3 unreadable file,
4 the broker refuses, 5 model file missing or damaged.
The password of a broker is read from AGFN_MQTT_PASSWORD or mqtt.password_file, that of a network camera from
AGFN_CAMERA_PASSWORD or camera.password_file, never from an option."""

DOCTOR, STREAMS = "doctor", "streams"


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, without the whole usage."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing and leaving.

        Raises:
            UsageError: always.
        """
        raise UsageError(f"{without_addresses(message)}; --help lists the options")


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser; nothing heavy is imported for it."""
    cli = Parser(
        prog="agfn-live" if Path(sys.argv[0]).stem == "agfn-live" else "python -m realtime.run",
        description="Streaming sentiment from face, voice and words, with visible gates.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    sources = cli.add_argument_group("sources")
    sources.add_argument(
        "--camera",
        metavar="N|PATH|URL|screen",
        help="camera: index, device path, rtsp:// or http:// URL (default 0), or screen[:MONITOR][:X,Y,WIDTH,HEIGHT]",
    )
    sources.add_argument(
        "--mic",
        metavar="default|loopback|N|NAME",
        help="microphone: default, number, part of its name (default: a network camera's own), or loopback: what this "
        "computer plays",
    )
    sources.add_argument("--no-camera", action="store_true", help="analyse without a camera")
    sources.add_argument("--no-mic", action="store_true", help="analyse without a microphone")
    sources.add_argument("--source", metavar="FILE|DIR", help="a media file, or a recording, instead of devices")
    sources.add_argument(
        "--pace", choices=["realtime", "fast"], default="realtime", help="pace of a file (default realtime)"
    )
    sources.add_argument("--demo", action="store_true", help="analyse a made-up talking portrait; needs no device")
    sources.add_argument("--list-devices", action="store_true", help="list cameras and microphones, and exit")
    out = cli.add_argument_group("output")
    out.add_argument(
        "--mqtt", metavar="URL", help="embedded (default), off, mqtt://host[:port] or mqtts://[user@]host[:port]"
    )
    out.add_argument("--output", metavar="FILE|-", help="write every message as a JSON line")
    out.add_argument("--people", action="store_true", help="tell everyone in the picture, not the main face alone")
    out.add_argument(
        "--channels", action="store_true", help="add valence, arousal, expressions, pitch ... for research"
    )
    out.add_argument("--publish-text", action="store_true", help="let the words leave the process with the messages")
    out.add_argument("--record", metavar="DIR", help="record the session into a new folder (numbers, no words)")
    out.add_argument("--record-text", action="store_true", help="record the words too")
    out.add_argument("--record-media", action="store_true", help="record pictures and sound too")
    out.add_argument("--no-view", action="store_true", help="plain log lines instead of the terminal view")
    out.add_argument("--overlay", action="store_true", help="show the desktop overlay (needs PySide6)")
    out.add_argument(
        "--dashboard",
        type=_place,
        metavar="[HOST:]PORT",
        help="serve the web dashboard on this port of loopback; of HOST only with a token and TLS",
    )
    out.add_argument(
        "--dashboard-broker", metavar="URL", help="ws:// or wss:// address at which a browser reaches your own broker"
    )
    out.add_argument("--homeassistant", action="store_true", help="appear in Home Assistant by itself")
    out.add_argument(
        "--remove-homeassistant", action="store_true", help="take the streams out of Home Assistant for good, and exit"
    )
    out.add_argument(
        "--metrics",
        type=_place,
        metavar="[HOST:]PORT",
        help="serve Prometheus metrics on this port of loopback; of HOST only with a token and TLS",
    )
    out.add_argument("--lsl", action="store_true", help="be found by Lab Streaming Layer on this machine (needs pylsl)")
    out.add_argument("--osc", metavar="HOST:PORT", help="send Open Sound Control bundles there, one a hop")
    out.add_argument("--log-level", choices=["debug", "info", "warning", "error"], default="info", help="default info")
    out.add_argument("--log-format", choices=["text", "json"], default="text", help="default text")
    run = cli.add_argument_group("run")
    run.add_argument("--device", metavar="auto|cpu|cuda[:N]", help="where AGFN runs (default auto)")
    run.add_argument("--duration", type=_seconds, metavar="S", help="stop after so many seconds")
    run.add_argument(
        "--language",
        metavar="auto|en|de|...",
        help="of the speech (default en); only what is said in English is scored",
    )
    run.add_argument("--config", type=Path, metavar="FILE", help="configuration file (YAML), or laptop, pi, gpu")
    run.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="set one configuration key")
    run.add_argument("--stream", metavar="NAME", help="name of the stream, part of its topics (default desk)")
    run.add_argument("--print-config", action="store_true", help="print the configuration and where each value is from")
    run.add_argument("--print-schema", action="store_true", help="print the JSON Schema of the messages, and exit")
    return cli


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    given = sys.argv[1:] if argv is None else list(argv)
    if given[:1] == [DOCTOR]:
        from realtime.doctor.__main__ import main as doctor  # noqa: PLC0415 - asked for seldom

        return doctor(given[1:])
    if given[:1] == [STREAMS]:
        from realtime.control.__main__ import main as streams  # noqa: PLC0415 - as above

        return streams(given[1:])
    try:
        return _dispatch(parser().parse_args(given))
    except AgfnError as error:
        say_error(error)
        return error.exit_code
    except MemoryError:
        say_error(AgfnError("out of memory: give it fewer streams, or a smaller model or file"))
        return AgfnError.exit_code


def options(args: argparse.Namespace) -> dict[str, Any]:
    """Return what the options set, laid out like the configuration.

    Raises:
        UsageError: options contradict each other.
    """
    if args.source and (args.camera or args.mic):
        raise UsageError("--source plays a file; leave out --camera and --mic")
    if (args.no_camera and args.camera) or (args.no_mic and args.mic):
        raise UsageError("--no-camera and --no-mic contradict --camera and --mic")
    if args.camera:
        refuse_secret(args.camera, "--camera")
    values: dict[str, Any] = {}
    if args.device:
        values["fusion"] = {"device": args.device}
    if args.mqtt:
        values["mqtt"] = _mqtt(args.mqtt)
    if args.language:
        values["asr"] = {"language": args.language}
    values |= _kept(args)
    values.update(_services(args))
    stream: dict[str, Any] = {key: value for key, value in (("name", args.stream), ("source", args.source)) if value}
    if args.no_camera or args.camera:
        stream["camera"] = args.camera
    if args.no_mic or args.mic:
        stream["mic"] = args.mic
    if stream:
        values["streams"] = [stream]
    return values


def _kept(args: argparse.Namespace) -> dict[str, Any]:
    """What may leave the process or reach the disk besides numbers."""
    if args.record_text and not args.record:
        raise UsageError("--record-text says what --record DIR keeps: add it")
    if args.record_media and not args.record:
        raise UsageError("--record-media says what --record DIR keeps: add it")
    values: dict[str, Any] = {"privacy": {"publish_text": True}} if args.publish_text else {}
    kept = {"folder": args.record, "text": args.record_text, "media": args.record_media}
    return values | ({"record": kept} if args.record else {})


def _dispatch(args: argparse.Namespace) -> int:
    limit_pools()  # before numpy and OpenCV are imported
    return_freed()
    set_up(args.log_level, args.log_format)
    if args.list_devices:
        from realtime.capture.devices import list_devices  # noqa: PLC0415 - devices are slow to look at

        _say("\n".join(printable(line) for line in list_devices()))  # a device may call itself anything
        return 0
    if args.print_schema:
        from realtime.publish.messages import schema_json  # noqa: PLC0415 - pydantic is slow to import

        _say(schema_json())
        return 0
    if args.demo:
        args.source = _demo()
    from realtime.config.load import load, to_yaml  # noqa: PLC0415 - --help must answer at once
    from realtime.config.profiles import profile  # noqa: PLC0415 - as above

    config, origins = load(args.config and profile(args.config), args.set, options(args))
    if args.print_config:
        _say(to_yaml(config, origins))
        return 0
    if args.pace == "fast" and [stream.source is not None for stream in config.streams] != [True]:
        raise UsageError("--pace fast plays one file: add --source FILE")
    if args.pace == "fast" and config.record.media:
        raise UsageError(
            "--record-media keeps what devices deliver; of a file at --pace fast there is the file: leave it out"
        )
    from realtime.config.combinations import check  # noqa: PLC0415 - as above

    check(config)
    if args.remove_homeassistant:
        return _remove_homeassistant(config)
    if args.overlay:
        from realtime.overlay.needs import check_needs  # noqa: PLC0415 - few ask for it

        if config.mqtt.url == "off":
            raise UsageError("--overlay shows what comes over MQTT: leave out --mqtt off")
        check_needs()
    return _run(args, config)


def _demo() -> str:
    from models.zoo import ZooError  # noqa: PLC0415 - as below
    from realtime.demo.clip import clip  # noqa: PLC0415 - builds the clip on first use

    try:
        return str(clip())
    except ZooError as error:
        raise ModelError(str(error)) from None


def _remove_homeassistant(config: Config) -> int:
    from realtime.homeassistant.sink import remove  # noqa: PLC0415
    from realtime.publish.access import access_of  # noqa: PLC0415 - asked for seldom

    if config.mqtt.url in {"off", "embedded"}:
        raise UsageError("--remove-homeassistant needs the broker: --mqtt mqtt://HOST")
    names = [stream.name for stream in config.streams]
    remove(config.homeassistant, access_of(config.mqtt), config.mqtt.base, names)
    return 0


def _run(args: argparse.Namespace, config: Config) -> int:
    from realtime.app import App  # noqa: PLC0415 - torch and the models take seconds to import
    from realtime.system.stderr import filtered_stderr  # noqa: PLC0415 - only where something runs

    stop = threading.Event()
    app = App(config, pace=args.pace, output=args.output, view=not args.no_view, overlay=args.overlay)
    ends = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    for number in ends:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup goes on when the terminal is closed
            signal.signal(number, lambda *_: stop.set())
    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, lambda *_: app.toggle_pause())
    terminal = sys.stderr is not None and sys.stderr.isatty()
    with filtered_stderr() if terminal or args.log_format == "json" else nullcontext():
        app.run(stop, args.duration)
    return 0


def _mqtt(url: str) -> dict[str, Any]:
    scheme, slashes, rest = url.partition("://")
    user, at, host = rest.rpartition("@")
    return {"url": f"{scheme}{slashes}{host}", "username": user} if at and ":" not in user else {"url": url}


def _services(args: argparse.Namespace) -> dict[str, Any]:
    dashboard = {**(args.dashboard or {}), "broker": args.dashboard_broker}
    return {
        **({"dashboard": kept} if (kept := {k: v for k, v in dashboard.items() if v is not None}) else {}),
        **({"face": {"people": True}} if args.people else {}),
        **({"channels": {"enabled": True}} if args.channels else {}),
        **({"homeassistant": {"enabled": True}} if args.homeassistant else {}),
        **({"metrics": args.metrics} if args.metrics is not None else {}),
        **({"lsl": {"enabled": True}} if args.lsl else {}),
        **({"osc": {"address": args.osc}} if args.osc is not None else {}),
    }


def _place(text: str) -> dict[str, Any]:
    """Read PORT, HOST:PORT or [IPv6]:PORT."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if colon and not host:
        raise argparse.ArgumentTypeError(f"{text!r}: write PORT for this machine alone, or HOST:PORT")
    return {"port": _port(port), **({"host": host} if colon else {})}


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 (a free one) to 65535")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds") from None
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} must be more than 0 seconds")
    return value


def _say(text: str) -> None:
    try:
        print(text)  # noqa: T201 - what was asked for
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (head, less) has seen enough; keep the interpreter from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    leave(main())
