"""Targets of `python -m scripts.fuzz`: one module for each parser of what strangers may send.

Each has `seeds()`, valid examples to begin with, and `run(data)`, which tells whether the parser took the bytes. What
it raises is a finding: a parser may refuse anything, but in its own words.
"""

from __future__ import annotations

TARGETS = ("client", "command", "config", "entry", "recording", "weights")
