"""What a second reading of each utterance is worth: word errors, lost negations and CPU time, beside the live words."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import numpy as np

from realtime.clock import VirtualClock
from realtime.extract.asr.reading import Reader, load
from realtime.types import SAMPLE_RATE_HZ
from scripts.benchmarks import live
from scripts.benchmarks.words import ErrorRate, negations

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from realtime.config.schema import AsrConfig
    from realtime.extract.asr.reading import Utterance
    from realtime.extract.asr.whisper import Decoder
    from realtime.types import Reading
    from scripts.benchmarks.sound import Clip

DECODE_S = 0.12
IN_TIME_S = 1.0
"""The end of a sentence may be judged so long after its last word was committed."""


def compare(
    config: AsrConfig, model: Decoder, clips: Sequence[Clip], name: str, texts: Path | None = None
) -> dict[str, float]:
    """Compare the live words of each clip with what the model `name` reads in its utterances.

    Args:
        config: of the recogniser.
        model: of the recogniser.
        clips: what is recognised.
        name: of the model that reads.
        texts: a file for the texts, `{clip: {"live": ..., NAME: ...}}`.
    """
    shared = load(config, name)
    shared.model.result()
    reader = Reader(shared, VirtualClock())
    found: dict[str, dict[str, str]] = {}
    spent_s = {"live": 0.0, name: 0.0}
    each_s: list[float] = []
    for clip in clips:
        utterances: list[Utterance] = []
        metered = live.Metered(model)
        run = live.run(clip.sound, config, metered, decode_s=DECODE_S, ended=utterances.append)
        spent_s["live"] += metered.spent_s
        readings: list[Reading] = []
        for utterance in utterances:
            began_s = time.process_time()
            readings += reader.feed(utterance)
            each_s.append(time.process_time() - began_s)
        spent_s[name] += sum(each_s[-len(utterances) :]) if utterances else 0.0
        read = " ".join(word.text for reading in readings for word in reading.words)
        found[clip.name] = {"live": run.text, name: read}
    if texts is not None:
        texts.write_text(json.dumps(found, indent=1), encoding="utf-8")
    sound_s = sum(len(clip.sound) for clip in clips) / SAMPLE_RATE_HZ
    in_time, count = float(np.mean(np.array(each_s) <= IN_TIME_S)), len(each_s)
    median_s, late_s = np.percentile(each_s, [50, 95]).tolist()
    print(f"{count} readings of {median_s:.2f} s of CPU (95 %: {late_s:.2f}), {in_time:.2f} within {IN_TIME_S:g} s")
    return {"reading_s": median_s, "reading_in_time": in_time} | {
        f"reading_{key}_{figure}": value
        for key in spent_s
        for figure, value in _figures(key, clips, found, spent_s[key] / sound_s).items()
    }


def _figures(key: str, clips: Sequence[Clip], found: dict[str, dict[str, str]], cpu_per_s: float) -> dict[str, float]:
    rate, said, lost = ErrorRate(), 0, 0
    for clip in clips:
        heard = found[clip.name][key]
        rate.add(clip.text, heard)
        said += negations(clip.text)
        lost += max(0, negations(clip.text) - negations(heard))
    print(
        f"{key}: WER {rate.value:.4f} ({rate.words} words: {rate.substitutions} substituted, {rate.deletions} lost, "
        f"{rate.insertions} added), {lost} of {said} negations lost, CPU {cpu_per_s:.3f} s per second of sound"
    )
    return {"wer": rate.value, "negations_lost": lost, "cpu_per_s": cpu_per_s}
