"""Command line: `agfn-live streams list|add|remove`, or `python -m realtime.control`, for a program that runs.

Exit codes: 0 done, 1 refused or failed, 2 wrong option, 4 no broker or nobody who answers.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from realtime.clock import utc_now
from realtime.config.schema import MqttConfig, StreamConfig
from realtime.config.token import VARIABLE, key_of
from realtime.control.link import answer_topic, control_topic
from realtime.control.messages import Answer, ForeignError, Request, parse_request, seal, unseal
from realtime.errors import AgfnError, UsageError
from realtime.publish.access import PASSWORD_VARIABLE, Access, access_of
from realtime.publish.asking import asking
from realtime.publish.broker import running
from realtime.publish.broker_config import HOST, USER
from realtime.system.address import refuse_secret, without_addresses
from realtime.system.logs import printable, say_error
from realtime.system.loopback import is_loopback
from realtime.system.private_file import private_file
from realtime.system.threads import leave

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from aiomqtt import Client

CONNECT_S = 5.0
ANSWER_S = {"list": 5.0, "remove": 15.0, "add": 60.0}
"""The stages of a stream that is added are built before the answer comes."""
OTHERS_S = 0.5
"""Several programs may answer what asks none of them by name."""
MAX_STATE_BYTES = 4096
EPILOG = f"""Without --mqtt it finds the program of this user that runs the embedded broker. With a broker of your own
the program and this command share a token: {VARIABLE}, or control.token_file and --token-file. The
broker's password comes from {PASSWORD_VARIABLE} or --password-file. Secrets are never options."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{without_addresses(message)}; agfn-live streams --help says how")


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    cli = _Parser(
        prog="agfn-live streams",
        description="List, add and remove the streams of a program that runs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    where = _Parser(add_help=False, allow_abbrev=False)
    where.add_argument("--mqtt", metavar="URL", help="broker: mqtt://host[:port] or mqtts://[user@]host[:port]")
    where.add_argument("--base", default="agfn", help="first part of the topics (default agfn)")
    where.add_argument("--host", help="which program, by its host.name, where several use one broker")
    where.add_argument("--token-file", metavar="FILE", help="file with the token")
    where.add_argument("--password-file", metavar="FILE", help="file with the broker's password")
    where.add_argument("--ca-file", metavar="FILE", help="certificate authority of the broker (PEM)")
    actions = cli.add_subparsers(dest="action", required=True, parser_class=_Parser)
    listed = actions.add_parser("list", parents=[where], help="say what streams there are", allow_abbrev=False)
    listed.add_argument("--json", action="store_true", help="as JSON")
    add = actions.add_parser("add", parents=[where], help="take a stream in", allow_abbrev=False)
    add.add_argument("name")
    add.add_argument("--camera", metavar="N|PATH|URL", help="as of agfn-live (default 0)")
    add.add_argument("--mic", metavar="default|N|NAME", help="as of agfn-live")
    add.add_argument("--no-camera", action="store_true", help="analyse without a camera")
    add.add_argument("--no-mic", action="store_true", help="analyse without a microphone")
    add.add_argument("--source", metavar="FILE", help="a media file of the machine of the program")
    add.add_argument("--state", metavar="FILE", help="go on from what `remove --state` has written")
    remove = actions.add_parser("remove", parents=[where], help="let a stream go", allow_abbrev=False)
    remove.add_argument("name")
    remove.add_argument(
        "--state", metavar="FILE", help="write what the stream remembers, numbers only, into a new file"
    )
    return cli


def main(argv: Sequence[str] | None = None) -> int:
    """Ask, print what was answered, and return the exit code."""
    try:
        args = parser().parse_args(argv)
        request, (access, key) = _request(args), _where(args)
        answers = _ask(access, args.base, key, request)
    except AgfnError as error:
        say_error(error)
        return error.exit_code
    return _print(args, answers)


def _request(args: argparse.Namespace) -> Request:
    """What is asked, by the options.

    Raises:
        UsageError: they fit neither each other nor a stream.
    """
    asked: dict[str, Any] = {"id": secrets.token_urlsafe(12), "action": args.action, "host": args.host}
    if args.action == "remove":
        asked |= {"name": args.name, "keep": args.state is not None}
        if args.state is not None and Path(args.state).exists():
            raise UsageError(f"--state {args.state}: it is there already; name a new file")
    elif args.action == "add":
        asked |= {"stream": _stream(args), "state": None if args.state is None else _state(args.state)}
    try:
        return parse_request(json.dumps(asked))
    except UsageError as error:
        raise UsageError(f"{str(error).removeprefix('no request: ')}; agfn-live streams --help says how") from None


def _stream(args: argparse.Namespace) -> dict[str, Any]:
    if args.camera:
        refuse_secret(args.camera, "--camera")
    if args.source and (args.camera or args.mic):
        raise UsageError("--source plays a file; leave out --camera and --mic")
    if (args.no_camera and args.camera) or (args.no_mic and args.mic):
        raise UsageError("--no-camera and --no-mic contradict --camera and --mic")
    stream: dict[str, Any] = {"name": args.name}
    if args.source:
        here = Path(args.source)
        stream["source"] = str(here.resolve() if here.exists() else here)
    if args.no_camera or args.camera:
        stream["camera"] = args.camera
    if args.no_mic or args.mic:
        stream["mic"] = args.mic
    try:
        return StreamConfig.model_validate(stream).model_dump()
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place, why = ".".join(map(str, problem["loc"])), problem["msg"].removeprefix("Value error, ")
        raise UsageError(f"{place}: {why}") from None


def _state(file: str) -> dict[str, Any]:
    try:
        with Path(file).open("rb") as opened:
            data = opened.read(MAX_STATE_BYTES + 1)
        state = json.loads(data) if len(data) <= MAX_STATE_BYTES else None
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"--state {file}: {getattr(error, 'strerror', None) or 'no JSON'}") from None
    if not isinstance(state, dict):
        raise UsageError(f"--state {file}: no state of a stream")
    return state


def _where(args: argparse.Namespace) -> tuple[Access, str]:
    """The broker and the token.

    Raises:
        UsageError: there is none, or no way to tell which.
    """
    token = key_of(args.token_file)
    embedded = running() if args.mqtt is None or is_loopback(urlsplit(args.mqtt).hostname or "") else {}
    port: int | None = None
    if args.mqtt is None:
        if len(embedded) != 1:
            ports = ", ".join(f"--mqtt mqtt://{HOST}:{port}" for port in sorted(embedded))
            raise UsageError(
                f"several programs run: say which by {ports}"
                if embedded
                else "no program of this user runs an embedded broker: name yours by --mqtt mqtt://HOST"
            )
        (port,) = embedded
    elif urlsplit(args.mqtt).scheme == "mqtt":
        with contextlib.suppress(ValueError):  # said by access_of
            port = urlsplit(args.mqtt).port or 1883
    if port in embedded:
        return Access(HOST, port, USER, embedded[port], speaks_v5=False), token or embedded[port]
    if token is None:
        raise UsageError(f"a broker of your own needs the token of the program: {VARIABLE} or --token-file")
    user, _, _ = urlsplit(args.mqtt).netloc.rpartition("@")
    try:
        config = MqttConfig(
            url=args.mqtt.replace(f"{user}@", "", 1) if user and ":" not in user else args.mqtt,
            username=user or None,
            base=args.base,
            password_file=args.password_file,
            ca_file=args.ca_file,
        )
    except ValidationError as error:
        raise UsageError(f"--mqtt: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None
    if config.url in {"off", "embedded"}:
        raise UsageError("--mqtt: write mqtt://HOST[:PORT] or mqtts://HOST[:PORT]")
    return access_of(config), token


def _ask(access: Access, base: str, key: str, request: Request) -> list[Answer]:
    """Send a request and return the answers: one, or those of several programs where none was named.

    Raises:
        BrokerError: there is no broker, or nobody answers.
    """
    loop = asyncio.SelectorEventLoop()  # paho's sockets need add_reader
    try:
        return loop.run_until_complete(_exchange(access, base, key, request))
    finally:
        loop.close()


async def _exchange(access: Access, base: str, key: str, request: Request) -> list[Answer]:
    sealed = seal(request.model_dump_json(by_alias=True), key, "request")
    silence = "nobody answers: is the token the program's, and is it its broker and its --base?"
    async with asking(access, answer_topic(base), (control_topic(base), sealed), silence, CONNECT_S) as client:
        return await asyncio.wait_for(_collect(client, key, request), CONNECT_S + ANSWER_S[request.action])


async def _collect(client: Client, key: str, request: Request) -> list[Answer]:
    found: list[Answer] = []
    messages = client.messages
    while True:
        wait_s = OTHERS_S if found else ANSWER_S[request.action]
        try:
            message = await asyncio.wait_for(anext(messages), wait_s)
        except asyncio.TimeoutError:
            if found:
                return found
            raise
        answer = _answer(message.payload, key, request.id)
        if answer is not None:
            found.append(answer)
            if request.action != "list" or request.host is not None:
                return found


def _answer(payload: object, key: str, request: str) -> Answer | None:
    """An answer to a request; None for what is none, or to another."""
    if not isinstance(payload, bytes):
        return None
    try:
        answer = Answer.model_validate_json(unseal(payload, key, "answer", utc_now()))
    except (ForeignError, UsageError, ValidationError):
        return None
    return answer if answer.id == request else None


def _print(args: argparse.Namespace, answers: list[Answer]) -> int:
    failed = [answer for answer in answers if answer.error is not None]
    for answer in failed:
        say_error(AgfnError(printable(answer.error or "")))
    if failed:
        return 1
    if args.action == "list":
        _say(_listed(answers, as_json=args.json))
    elif args.action == "remove" and args.state is not None:
        with private_file(Path(args.state)) as file:
            file.write(json.dumps(answers[0].state).encode())
        _say(f"{args.name} is removed; what it remembers is in {args.state}")
    else:
        _say(f"{args.name} is {'added' if args.action == 'add' else 'removed'}")
    return 0


def _listed(answers: list[Answer], *, as_json: bool) -> str:
    if as_json:
        streams = [{"host": a.host, **line.model_dump()} for a in answers for line in a.streams or ()]
        return json.dumps(streams, indent=1)
    rows = [("stream", "state", "camera", "microphone", "host")]
    for answer in answers:
        for line in answer.streams or ():
            camera = f"file {line.source}" if line.source is not None else line.camera
            rows.append((line.name, line.state, camera or "-", line.mic or "-", answer.host or "-"))
    if len(rows) == 1:
        return "no stream"
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _say(text: str) -> None:
    print("\n".join(printable(line) for line in text.splitlines()))  # noqa: T201 - what was asked for
    sys.stdout.flush()


if __name__ == "__main__":
    leave(main())
