"""Print configs/default.yaml: `python -m scripts.default_config > configs/default.yaml`; a test compares."""

from __future__ import annotations

from realtime.config.load import STREAMS, yaml_scalar
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
        section = section_field.default
        lines += ["", f"# {type(section).__doc__}", f"{name}:"]
        for key, inner in type(section).model_fields.items():
            lines.append(f"{f'  {key}: {yaml_scalar(inner.default)}':<28}# {inner.description}")
    lines += ["", f"# {StreamConfig.__doc__} Several run in one process, in one fusion worker.", f"{STREAMS}:"]
    for number, (key, inner) in enumerate(StreamConfig.model_fields.items()):
        lead = "  - " if number == 0 else "    "
        lines.append(f"{f'{lead}{key}: {yaml_scalar(inner.default)}':<28}# {inner.description}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(commented(), end="")
