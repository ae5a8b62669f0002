"""Which audio context: time, word error rate and word times of single decodes of whole clips, per context."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from realtime.extract.asr.hallucination import max_tokens
from realtime.extract.asr.whisper import AsrModel
from realtime.types import SAMPLE_RATE_HZ
from scripts.benchmarks.lag import percentiles
from scripts.benchmarks.sound import spoken_words
from scripts.benchmarks.words import ErrorRate, normal, pair

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime.config.schema import AsrConfig
    from scripts.benchmarks.sound import Clip

CONTEXTS_S = (30.0, 15.0, 12.0, 10.0, 8.0, 7.0, 6.0)
MARGIN_S = 1.0


def compare(config: AsrConfig, clips: Sequence[Clip], grid: Sequence[Clip]) -> dict[str, dict[str, float]]:
    """Decode the same short clips at each context, without the streaming around it."""
    fitting = [clip for clip in clips if len(clip.sound) / SAMPLE_RATE_HZ <= CONTEXTS_S[-1] - MARGIN_S]
    print(f"{len(fitting)} clips of MOSI of at most {CONTEXTS_S[-1] - MARGIN_S:.0f} s, {len(grid)} of GRID")
    print("frames  decode ms     WER  start p50 s  p95 s")
    table = {}
    for context_s in CONTEXTS_S:
        buffer_s = context_s - MARGIN_S
        model = AsrModel(config.model_copy(update={"context_s": context_s, "buffer_s": buffer_s}))
        rate, spent_s, errors_s = ErrorRate(), 0.0, []
        for clip in (*fitting, *grid):
            began = time.perf_counter()
            hypothesis, _ = model.decode(clip.sound, (), max_tokens(len(clip.sound) / SAMPLE_RATE_HZ), "en")
            spent_s += time.perf_counter() - began
            heard = [(part, word.start_s) for word in hypothesis.words for part in normal(word.text)]
            spoken = spoken_words(clip)
            if spoken:
                _, same = pair([word.text for word in spoken], [text for text, _ in heard])
                errors_s += [abs(spoken[i].start_s - heard[j][1]) for i, j in same]
            else:
                rate.add(clip.text, [word.text for word in hypothesis.words])
        p50, p95 = percentiles(errors_s)
        ms = spent_s / (len(fitting) + len(grid)) * 1000
        print(f"{model.context_frames:6d}  {ms:9.0f}  {rate.value:6.3f}  {p50:11.2f}  {p95:5.2f}", flush=True)
        table[str(model.context_frames)] = {"decode_ms": ms, "wer": rate.value, "start_p50_s": p50, "start_p95_s": p95}
    return table
