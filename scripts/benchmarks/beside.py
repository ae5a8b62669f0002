"""The rest of the program, running beside what is measured: a talking file through face, voice and fusion, no words."""

from __future__ import annotations

import contextlib
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import av

from scripts.benchmarks.program import Program, talk

if TYPE_CHECKING:
    from collections.abc import Iterator

CYCLE_S = 30
STARTED_S = 120.0
SPARE = 1.5
"""The file is so many times longer than what is measured, which may start late and fall behind."""


@contextlib.contextmanager
def rest_of_the_program(data: Path, length_s: float) -> Iterator[None]:
    """Within the context the program runs without its recogniser, at real pace, for at least `length_s`.

    Raises:
        RuntimeError: it does not start, or it ended before the context did.
    """
    with tempfile.TemporaryDirectory() as folder:
        cycle = talk(sorted((data / "mosi_clips").glob("*.mp4")), Path(folder) / "cycle.mkv", CYCLE_S, 0.0)
        film = repeat(cycle, Path(folder) / "film.mkv", round(SPARE * length_s / CYCLE_S) + 1)
        with Program(["--source", str(film), "--set", "asr.enabled=false"]) as program:
            deadline = time.monotonic() + STARTED_S
            while len(program.sentiments()) < 2:
                if program.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("the program beside the recogniser does not start; try scripts/run --demo")
                time.sleep(0.2)
            yield
            if program.process.poll() is not None:
                raise RuntimeError("the program beside the recogniser ended too early")
            cores = program.cores(program.begin_s, time.time())
            print(f"beside it: camera, voice and fusion with {cores:.2f} cores")


def repeat(film: Path, target: Path, times: int) -> Path:
    """Write a file `times` over, without decoding it."""
    with av.open(str(target), "w") as out:
        with av.open(str(film)) as first:
            streams = [out.add_stream_from_template(stream) for stream in first.streams]
            length = first.duration or 0  # microseconds
        for turn in range(times):
            with av.open(str(film)) as source:
                for packet in source.demux():
                    if packet.pts is None or packet.time_base is None:
                        continue
                    shift = int(turn * length / 1e6 / packet.time_base)
                    packet.pts += shift
                    packet.dts = packet.pts
                    packet.stream = streams[packet.stream.index]
                    out.mux(packet)
    return target
