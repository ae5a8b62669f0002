"""The contract as files for other people's tools: docs/schema/*.json and docs/asyncapi.yaml, generated from the models.

`python -m scripts.contract` writes them anew; `--examples LIVE.jsonl` takes new examples from what a real run
wrote with `--output LIVE.jsonl`. A test compares the committed files with what the code says.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, get_args

import yaml

from realtime.publish.link import FRESH_S
from realtime.publish.messages import Command, EventMessage, Health, Kind, Sentiment, Status, json_schema

KINDS: tuple[Kind, ...] = get_args(Kind)
MODELS = {"sentiment": Sentiment, "health": Health, "event": EventMessage, "status": Status, "command": Command}
DOCS = Path(__file__).parents[1] / "docs"
EXAMPLES = Path("examples", "messages.jsonl")
VERSION = "1.0.0"
"""Of the contract as a whole: the first number is the newest major version of a message."""
WORDS = {"status": "online", "command": "pause"}
"""Messages that are a bare word."""
ABOUT = {
    "sentiment": "A window's sentiment, every hop and for an opinion word: score, interval, gates, states, latencies.",
    "health": "Rates, drops, restarts, memory, once a second.",
    "event": "What was lost, recovered, paused: each once, with a cause.",
    "status": "online or offline; the broker says offline itself (last will) when the program dies.",
    "command": "What a stream may be told: pause releases its devices, resume opens them again.",
}


def schema_of(kind: Kind, whole: dict[str, Any] | None = None) -> dict[str, Any]:
    """JSON Schema (2020-12) of one kind of message, complete in itself."""
    document = whole or json_schema()
    name = MODELS[kind].__name__
    definitions = document["$defs"]
    needed = _needed(name, definitions)
    return {
        "$schema": document["$schema"],
        "$id": f"urn:agfn:schema:{kind}:1",
        **definitions[name],
        **({"$defs": {each: definitions[each] for each in sorted(needed - {name})}} if needed > {name} else {}),
    }


def files(examples: list[dict[str, Any]]) -> dict[Path, str]:
    """Every generated file by its path below docs/."""
    whole = json_schema()
    written = {Path("schema", f"{kind}.json"): _json(schema_of(kind, whole)) for kind in KINDS}
    written[Path("schema", "messages.json")] = _json(whole)
    written[EXAMPLES] = "".join(f"{json.dumps(example, ensure_ascii=False)}\n" for example in examples)
    head = "# Made by `python -m scripts.contract`; a test compares it with the code.\n"
    written[Path("asyncapi.yaml")] = head + yaml.dump(
        asyncapi(examples), Dumper=_PlainDumper, sort_keys=False, width=110, allow_unicode=True
    )
    return written


def read_examples(path: Path) -> list[dict[str, Any]]:
    """Messages of a JSON lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("{")]


def chosen(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of a real run one message of each kind and state, the newest of those in which most is lost.

    Sentiments differ by their state, events by what happened.
    """
    kept: dict[tuple[str, str], dict[str, Any]] = {}
    for message in messages:
        kind = kind_of(message)
        key = kind, str(message.get({"event": "kind", "sentiment": "state"}.get(kind, "")))
        if key not in kept or _lost(message) >= _lost(kept[key]):
            kept[key] = message
    return [kept[key] for key in sorted(kept, key=lambda key: (KINDS.index(key[0]), key[1]))]


def kind_of(message: dict[str, Any]) -> Kind:
    """Which kind a message is of, by its schema `agfn.<kind>/<n>`."""
    name = str(message["schema"]).removeprefix("agfn.").partition("/")[0]
    return next(kind for kind in KINDS if kind == name)


def _lost(message: dict[str, Any]) -> int:
    return sum(part["state"] == "lost" for part in message.get("modalities", {}).values())


def asyncapi(examples: list[dict[str, Any]]) -> dict[str, Any]:
    """AsyncAPI 3 document of the topics."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "AGFN Live",
            "version": VERSION,
            "description": "Streaming sentiment from face, voice and words, with visible gates. "
            "Version rules, in words: contract.md. With --homeassistant there is {base}/{stream}/homeassistant, a copy "
            "of the sentiment every few seconds for that one reader (homeassistant.md), and no part of this contract; "
            "{base}/_control takes sealed requests about the streams (streams.md).",
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "embedded": {
                "host": "127.0.0.1:1883",
                "protocol": "mqtt",
                "protocolVersion": "3.1.1",
                "description": "The broker inside the program, on loopback only; --mqtt names your own (3.1.1 or 5).",
            }
        },
        "channels": {kind: _channel(kind) for kind in KINDS},
        "operations": {
            ("take" if kind == "command" else "publish") + kind.title(): {
                "action": "receive" if kind == "command" else "send",
                "channel": {"$ref": f"#/channels/{kind}"},
                "summary": ABOUT[kind],
                "bindings": {"mqtt": _delivery(kind)},
            }
            for kind in KINDS
        },
        "components": {"messages": {kind: _message(kind, examples) for kind in KINDS}},
    }


def _channel(kind: Kind) -> dict[str, Any]:
    return {
        "address": f"{{base}}/{{stream}}/{kind}",
        "messages": {kind: {"$ref": f"#/components/messages/{kind}"}},
        "parameters": {
            "base": {"description": "mqtt.base of the configuration.", "default": "agfn"},
            "stream": {"description": "Name of the stream: letters, digits, `_`, `.`, `-`.", "default": "desk"},
        },
    }


def _delivery(kind: Kind) -> dict[str, Any]:
    qos = 0 if kind in {"sentiment", "health"} else 1
    expiry = {"messageExpiryInterval": int(FRESH_S)} if qos == 0 else {}
    return {"qos": qos, "retain": kind == "status", **expiry, "bindingVersion": "0.2.0"}


def _message(kind: Kind, examples: list[dict[str, Any]]) -> dict[str, Any]:
    mine: list[Any] = [example for example in examples if kind_of(example) == kind]
    if kind == "command":
        mine = [{"schema": "agfn.command/1", "command": "pause"}]
    elif kind in WORDS:
        mine = [WORDS[kind]]
    return {
        "name": kind,
        "title": MODELS[kind].__name__,
        "summary": ABOUT[kind],
        "contentType": "text/plain" if kind == "status" else "application/json",
        "payload": {"$ref": f"./schema/{kind}.json"},
        "examples": [{"payload": example} for example in mine],
    }


def _needed(name: str, definitions: dict[str, Any]) -> set[str]:
    """A definition and all that it refers to."""
    found, left = set[str](), [name]
    while left:
        each = left.pop()
        if each not in found:
            found.add(each)
            left += [other for other in definitions if f'"#/$defs/{other}"' in json.dumps(definitions[each])]
    return found


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


class _PlainDumper(yaml.SafeDumper):
    """Writes a value again instead of referring to it."""

    def ignore_aliases(self, _data: Any) -> bool:  # noqa: ANN401 - PyYAML's signature
        return True


def main() -> None:
    """Write the files."""
    cli = argparse.ArgumentParser(description="Write docs/schema, docs/asyncapi.yaml and their examples.")
    cli.add_argument("--examples", type=Path, metavar="FILE", help="JSON lines of a real run (realtime.run --output)")
    cli.add_argument("--docs", type=Path, default=DOCS, help="folder to write to (default docs)")
    args = cli.parse_args()
    examples = chosen(read_examples(args.examples)) if args.examples else read_examples(args.docs / EXAMPLES)
    for path, text in files(examples).items():
        (args.docs / path).parent.mkdir(parents=True, exist_ok=True)
        (args.docs / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
