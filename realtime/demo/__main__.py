"""Build the demo clip and say where it is: `python -m realtime.demo`."""

from __future__ import annotations

from realtime.demo.clip import clip

if __name__ == "__main__":
    print(clip())  # noqa: T201 - a command line speaks
