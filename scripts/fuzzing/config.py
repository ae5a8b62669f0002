"""Configuration files."""

from __future__ import annotations

import re
from pathlib import Path

from realtime.config.load import load, to_yaml
from realtime.config.schema import Config
from realtime.errors import UsageError
from scripts.default_config import commented
from scripts.fuzzing.checks import expect, expect_one_line, scratch

ROOT = Path(__file__).resolve().parents[2]


LONGEST = 2000
"""PyYAML takes a tenth of a second for the whole of the defaults: short files are tried, and many of them."""


def seeds() -> list[bytes]:
    """The sections of the defaults one by one, without their comments, and the example."""
    lines = [line.partition(" #")[0].rstrip() for line in commented().splitlines() if not line.startswith("#")]
    sections = re.split(r"\n(?=\w)", "\n".join(line for line in lines if line))
    example = (ROOT / "docs" / "examples" / "two-streams.yaml").read_bytes()
    return [section.encode() for section in sections] + [example, b"streams:\n- {name: a, camera: 0}\n"]


def run(data: bytes) -> bool:
    """Read a file as `--config` does, and print it as `--print-config` does."""
    file = scratch() / "any.yaml"
    file.write_bytes(data)
    try:
        config, origins = load(file, environ={})
    except UsageError as refusal:
        expect_one_line(refusal)
        return False
    expect(Config.model_validate(config.model_dump()) == config, "a configuration that is not itself again")
    printed = to_yaml(config, origins)
    expect(all(line.isprintable() for line in printed.splitlines()), "--print-config prints control characters")
    return True
