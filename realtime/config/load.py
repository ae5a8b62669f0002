"""How the configuration comes together: layers are read, merged and checked, and what is wrong is said in one line.

Later layers win: defaults < file < environment (AGFN_FUSION__DEVICE=cpu) < --set fusion.device=cpu < options.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel, ValidationError

from realtime.config.rule import RuleConfig
from realtime.config.schema import Config, StreamConfig
from realtime.config.strictyaml import read_yaml, scalar_of
from realtime.errors import UsageError
from realtime.system.address import is_url, public_address, refuse_secret, without_addresses

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic.fields import FieldInfo

ENV_PREFIX = "AGFN_"
STREAMS = "streams"
RULES = "rules"
LONGEST_SHOWN = 60
DEEPEST = 3
"""streams.0.name"""


@dataclass(frozen=True, slots=True)
class ConfigSource:
    """One source of values: `name` is shown to the user, `values` is nested like the configuration.

    `lines` tells the line of a dotted key, where there are lines.
    """

    name: str
    values: Mapping[str, Any]
    lines: Mapping[str, int] = field(default_factory=dict)

    def origin(self, key: str) -> str:
        """Where a dotted key was set."""
        return f"{self.name}:{self.lines[key]}" if key in self.lines else self.name


def load(
    file: Path | None = None,
    sets: Iterable[str] = (),
    options: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> tuple[Config, dict[str, str]]:
    """Merge the layers and return the configuration and, per dotted key, where its value came from.

    Args:
        file: a YAML file, or None.
        sets: `KEY=VALUE` strings, KEY dotted (`streams.0.camera`), VALUE read as YAML.
        options: values of command-line options, nested; those of a stream are of the only one there is.
        environ: the environment; `AGFN_FUSION__DEVICE` sets fusion.device.

    Raises:
        UsageError: a key is unknown or a value does not fit; the message names key, value, place and what is allowed.
    """
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    layers = [
        *([ConfigSource(str(file), *read_yaml(file))] if file else []),
        *_environment(os.environ if environ is None else environ),
        *(ConfigSource("--set", assignment(text)) for text in sets),
    ]
    for layer in layers:
        _merge(merged, layer.values, layer, origins)
    _merge(merged, _of_the_only_stream(options or {}, merged), ConfigSource("command line", {}), origins)
    try:
        return Config.model_validate({**merged, **_streams(merged)}), origins
    except ValidationError as error:
        raise UsageError(_explain(error, origins)) from None
    except ValueError:  # Python does not print an integer of thousands of digits, not even in the error about it
        raise UsageError(
            "a number in the configuration has thousands of digits; --print-config lists the keys"
        ) from None


def _environment(environ: Mapping[str, str]) -> list[ConfigSource]:
    """AGFN_SECTION__KEY are keys; a single underscore belongs to something else, such as AGFN_MQTT_PASSWORD."""
    layers = []
    for variable in sorted(environ):
        if variable.startswith(ENV_PREFIX) and ("__" in variable or variable == f"{ENV_PREFIX}{STREAMS.upper()}"):
            key = variable.removeprefix(ENV_PREFIX).lower().replace("__", ".")
            layers.append(ConfigSource(variable, _nested(key, environ[variable])))
    return layers


def assignment(text: str) -> dict[str, Any]:
    """Read `KEY=VALUE` into a nested mapping.

    Raises:
        UsageError: it is none.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError(
            f"--set {_short(without_addresses(text))}: write KEY=VALUE, for example --set fusion.device=cpu"
        )
    if is_url(value) and key.strip().startswith(STREAMS):
        refuse_secret(value.strip().strip("'\""), f"--set {key.strip()[:LONGEST_SHOWN]}")
    if is_url(value) and key.strip().startswith(RULES):
        raise UsageError(
            f"--set {key.strip()[:LONGEST_SHOWN]}: an address may hold a secret, and everybody on this machine can "
            "read a command line: write it into --config FILE, or AGFN_RULES__NAME__WEBHOOK"
        )
    return _nested(key.strip(), value)


def _nested(key: str, text: str) -> dict[str, Any]:
    parts = key.split(".")
    if len(parts) > DEEPEST:
        raise UsageError(f"unknown config key {without_addresses(key)[:LONGEST_SHOWN]}; --print-config lists the keys")
    nested: Any = scalar_of(text)
    for part in reversed(parts):
        nested = {part: nested}
    return dict(nested)


def _merge(
    into: dict[str, Any], values: Mapping[str, Any], layer: ConfigSource, origins: dict[str, str], at: str = ""
) -> None:
    for key, given in values.items():
        place, value = f"{at}{key}", given
        if place == STREAMS and isinstance(value, list):  # a list replaces all streams; `streams.0.name` changes one
            value = {str(number): stream for number, stream in enumerate(value)}
            for gone in [known for known in origins if known.startswith(f"{STREAMS}.")]:
                del origins[gone]
            into[key] = {}
            origins[place] = layer.origin(place)
        if value is None and not at:
            continue  # a section whose keys are all commented out
        if isinstance(value, Mapping) and isinstance(into.get(key, {}), dict):
            _merge(into.setdefault(key, {}), value, layer, origins, f"{place}.")
        else:
            into[key] = value
            origins[place] = layer.origin(place)


def _of_the_only_stream(options: Mapping[str, Any], merged: Mapping[str, Any]) -> dict[str, Any]:
    """Options change the one stream of the other layers instead of replacing it."""
    if STREAMS not in options:
        return dict(options)
    known = merged.get(STREAMS, {})
    if isinstance(known, dict) and len(known) > 1:
        raise UsageError(
            f"options such as --camera and --source are of a single stream, the configuration has {len(known)}: "
            "use --set streams.0.camera=VALUE"
        )
    (stream,) = options[STREAMS]
    device = any(stream.get(key) is not None for key in ("camera", "mic"))
    return {**options, STREAMS: {"0": {**({"source": None} if device else {}), **stream}}}


def _streams(merged: Mapping[str, Any]) -> dict[str, Any]:
    found = merged.get(STREAMS)
    if not isinstance(found, dict):
        return {}
    if set(found) != {str(number) for number in range(len(found))}:
        raise UsageError(
            f"config key {STREAMS}: write a list (`- name: desk`), or streams.0, streams.1 and so on without a gap"
        )
    return {STREAMS: [found[str(number)] for number in range(len(found))]}


def _explain(error: ValidationError, origins: Mapping[str, str]) -> str:
    """Name key, value, place and what is allowed; never a value that may hold a secret."""
    problems = error.errors(include_url=False)
    problem = problems[0]
    path = [str(part) for part in problem["loc"]]
    key = without_addresses(".".join(path)) or "configuration"
    place = next((origins[known] for known in _upwards(path) if known in origins), None)
    place = place or next((origin for known, origin in origins.items() if known.startswith(f"{key}.")), None)
    where = f" (from {place})" if place else ""
    others = sum(other["loc"] != problem["loc"][: len(other["loc"])] for other in problems)  # not what follows from it
    more = f" (and {others} more)" if others else ""
    if problem["type"] == "extra_forbidden":
        return f"unknown config key {key[:LONGEST_SHOWN]}{where}{_like(path)}; --print-config lists the keys{more}"
    value = problem["input"]
    secret = isinstance(value, str) and ("@" in value or is_url(value) or path[-1:] == ["camera"])
    shown = f" = {_short(value)}" if isinstance(value, str | int | float | bool | None) and not secret else ""
    allowed = _allowed(path)
    return f"config key {key}{shown}{where}: {problem['msg'].removeprefix('Value error, ')}{allowed}{more}"


def _upwards(path: list[str]) -> Iterable[str]:
    return (".".join(path[:length]) for length in range(len(path), 0, -1))


def _short(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python does not print an integer of thousands of digits
        return "a huge number"
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def _model(path: Iterable[str]) -> type[BaseModel] | None:
    """Return the section that a path leads to."""
    model: type[BaseModel] = Config
    parts = list(path)
    if parts[:1] == [RULES]:
        model, parts = RuleConfig, parts[2:]
    for part in parts:
        if part.isdigit():
            model = StreamConfig
        elif part in model.model_fields:
            found = model.model_fields[part]
            model = StreamConfig if part == STREAMS else type(found.default)
        if not issubclass(model, BaseModel):
            return None
    return model


def _like(path: list[str]) -> str:
    model = _model(path[:-1])
    close = difflib.get_close_matches(path[-1], model.model_fields, 1) if model else []
    return f"; did you mean {'.'.join([*path[:-1], *close])}?" if close else ""


def _allowed(path: list[str]) -> str:
    """Say what fits: a range with its default, or the meaning of the key."""
    model = _model(path[:-1])
    found = model.model_fields.get(path[-1]) if model else None
    if found is None or path[-1] == STREAMS or isinstance(found.default, BaseModel | dict):
        return ""
    if found.is_required():
        return f"; {str(found.description).rstrip('.')}"
    kind = "true or false" if isinstance(found.default, bool) else _range(found)
    default = f"default {yaml_scalar(found.default)}"
    return f"; valid: {kind}, {default}" if kind else f"; {str(found.description).rstrip('.')} ({default})"


def _range(found: FieldInfo) -> str:
    bounds = {
        name: bound
        for part in found.metadata
        for name in ("gt", "ge", "le")
        if (bound := getattr(part, name, None)) is not None
    }
    if "le" not in bounds:
        return ""
    low = f"more than {bounds['gt']}" if "gt" in bounds else f"{bounds['ge']}"
    return f"{low} to {bounds['le']}"


def to_yaml(config: Config, origins: Mapping[str, str]) -> str:
    """Print the configuration with, per value, where it came from."""
    lines: list[str] = []

    def add(lead: str, values: Mapping[str, Any], place: str, first: str = "") -> None:
        for nth, (key, value) in enumerate(values.items()):
            shown = f"{lead if nth or not first else first}{key}: {yaml_scalar(_public(key, value))}"
            lines.append(f"{shown:<34} # {origins.get(f'{place}{key}', 'default')}")

    for section, values in config.model_dump(mode="json").items():
        if not values:  # no rules
            add("", {section: values}, "")
            continue
        lines.append(f"{section}:")
        if isinstance(values, list):
            for number, stream in enumerate(values):
                add("    ", stream, f"{section}.{number}.", first="  - ")
        elif section == RULES:
            for name, rule in values.items():
                lines.append(f"  {yaml_scalar(name)}:")
                add("    ", rule, f"{section}.{name}.")
        else:
            add("  ", values, f"{section}.")
    return "\n".join(lines)


def _public(key: str, value: Any) -> Any:  # noqa: ANN401 - any value of the configuration
    """Return what may be shown of a value: an address may hold a secret."""
    return public_address(value) if key in {"camera", "webhook"} and value is not None else value


def yaml_scalar(value: Any) -> str:  # noqa: ANN401 - any scalar of the configuration
    """Write a value as YAML does, on one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("...\n").strip()
