"""Print configs/default.yaml: `python -m scripts.default_config > configs/default.yaml`; a test compares."""

from __future__ import annotations

from realtime.config.load import RULES, STREAMS, yaml_scalar
from realtime.config.rule import RuleConfig
from realtime.config.schema import Config, StreamConfig


def commented() -> str:
    """Return configs/default.yaml: every key with its default, its meaning and its unit."""
    lines = [
        "# Every key of AGFN Live with its default (made by `python -m scripts.default_config`; a test compares).",
        "# Copy what you change: scripts/run --config my.yaml; or one key: --set fusion.device=cpu.",
    ]
    for name, section_field in Config.model_fields.items():
        if name == STREAMS:
            continue
        if name == RULES:
            lines += ["", "# Rules by name, such as the one below; docs/rules.md.", f"{name}: {{}}", *_example()]
            continue
        section = section_field.default
        lines += ["", f"# {type(section).__doc__}", f"{name}:"]
        for key, inner in type(section).model_fields.items():
            lines.append(f"{f'  {key}: {yaml_scalar(inner.default)}':<28}# {inner.description}")
    lines += ["", f"# {StreamConfig.__doc__} Several run in one process, in one fusion worker.", f"{STREAMS}:"]
    for number, (key, inner) in enumerate(StreamConfig.model_fields.items()):
        lead = "  - " if number == 0 else "    "
        lines.append(f"{f'{lead}{key}: {yaml_scalar(inner.default)}':<28}# {inner.description}")
    return "\n".join(lines) + "\n"


def _example() -> list[str]:
    """Return the keys of a rule, each with its meaning, as comments."""
    values = {"when": "score < -1", "command": "[notify-send, low mood]"}
    lines = ["#  low-mood:"]
    for key, inner in RuleConfig.model_fields.items():
        value = values.get(key) or yaml_scalar(
            list(inner.default) if isinstance(inner.default, tuple) else inner.default
        )
        lines.append(f"{f'#    {key}: {value}':<39} # {inner.description}")
    return lines


if __name__ == "__main__":
    print(commented(), end="")
