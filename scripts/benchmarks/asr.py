"""Speech recognition against its bars.

python scripts/bench.py asr [--data DIR] [--quick] [--busy] [--contexts]

The stream is simulated in real time without the idle times (live.py): lags are those of a live stream on this machine
under its present load. Decoder times are compared with a plain loop in the same run (plain.py).
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from benchmarks import asr_contexts, live, plain, sound
from benchmarks.busy import busy_core
from benchmarks.lag import percentiles, slope_ms_per_min, word_lags
from benchmarks.words import ErrorRate, normal

from realtime.config import AsrConfig
from realtime.extract.transcribe import AsrModel
from realtime.types import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.sound import Clip
    from faster_whisper import WhisperModel

PAUSES_S = (0.6, 2.5, 1.0, 8.0, 0.3)
COMPARED_S = 60.0


def main(options: Sequence[str]) -> None:
    """Run the benchmark and print its JSON line."""
    parser = argparse.ArgumentParser(prog="bench.py asr", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("AGFN_DATA", "../shared/data")))
    parser.add_argument("--quick", action="store_true", help="40 clips, a stream of 3 minutes, 1 minute of each sound")
    parser.add_argument("--model", default=AsrConfig().model)
    parser.add_argument("--step", type=float, default=AsrConfig().step_s, help="seconds between decodes")
    parser.add_argument("--contexts", action="store_true", help="only compare audio contexts")
    parser.add_argument("--busy", action="store_true", help="only take one core away for 60 s of a live stream")
    arguments, _ = parser.parse_known_args(options)
    config = AsrConfig(model=arguments.model, step_s=arguments.step)
    clips = sound.mosi(arguments.data, 40 if arguments.quick else None)
    whisper = plain.load(config)
    if arguments.contexts:
        print(json.dumps(asr_contexts.compare(config, clips, sound.grid(arguments.data))))
        return
    model = AsrModel(config)
    aligned = [sound.align(clip, whisper) for clip in clips]
    if arguments.busy:
        print(json.dumps(core_taken_away(config, model, aligned)))
        return
    minutes = 3 if arguments.quick else 20
    noises_s = 60 if arguments.quick else 300
    print(
        json.dumps(
            {
                **errors(config, model, whisper, clips),
                **stream(config, model, sound.join(aligned, minutes * 60, PAUSES_S)),
                **decoder_time(config, model, whisper, aligned),
                **no_speech(config, model, noises_s),
                **word_starts(config, model, sound.grid(arguments.data)),
                "context_frames": model.context_frames,
            }
        )
    )


def errors(config: AsrConfig, model: AsrModel, whisper: WhisperModel, clips: Sequence[Clip]) -> dict[str, float]:
    """Word error rates of the committed text, and of decoding each clip whole."""
    rate = ErrorRate()
    for clip in clips:
        rate.add(normal(clip.text), normal(live.run(clip.sound, config, model).text))
    offline = plain.offline_wer(whisper, clips)
    print(f"WER over {len(clips)} clips ({rate.words} words): committed {rate.value:.4f}, offline {offline:.4f}")
    return {"wer_committed": rate.value, "wer_offline": offline}


def stream(config: AsrConfig, model: AsrModel, clip: Clip) -> dict[str, float]:
    """Lags over a long stream with pauses."""
    run = live.run(clip.sound, config, model)
    lags = word_lags(clip, run, local=False)
    tentative = percentiles([lag.tentative_s for lag in lags])
    committed = percentiles([lag.committed_s for lag in lags])
    slope = slope_ms_per_min(lags)
    print(
        f"stream of {run.sound_s / 60:.1f} min, {len(lags)} words: first {tentative[0]:.2f} / {tentative[1]:.2f} s, "
        f"committed {committed[0]:.2f} / {committed[1]:.2f} s, slope {slope:+.2f} ms/min"
    )
    return {
        "tentative_p50_s": tentative[0],
        "tentative_p95_s": tentative[1],
        "committed_p50_s": committed[0],
        "committed_p95_s": committed[1],
        "lag_slope_ms_per_min": slope,
        "step_s": run.step_s,
        "real_time_factor": run.decode_s / run.sound_s,
    }


def decoder_time(config: AsrConfig, model: AsrModel, whisper: WhisperModel, clips: Sequence[Clip]) -> dict[str, float]:
    """Decoder time as a share of that of the plain loop, over the same speech and the same silence."""
    speech = sound.join(clips, COMPARED_S, (0.3,)).sound
    quiet = sound.silence(20)
    slow_config = config.model_copy(update={"step_s": float(plain.STEP_S)})
    loop_s, own_s, same_s = [], [], []
    # In turns, so that all three meet the same load of the machine.
    for piece in np.array_split(speech, 4):
        loop_s.append(plain.loop_s(whisper, piece))
        own_s.append(live.run(piece, config, model).decode_s)
        same_s.append(live.run(piece, slow_config, model).decode_s)
    silent = live.run(quiet, config, model).decode_s / plain.loop_s(whisper, quiet)
    own, same = sum(own_s) / sum(loop_s), sum(same_s) / sum(loop_s)
    length_s = len(speech) / SAMPLE_RATE_HZ
    print(
        f"decoder time per second of speech: plain loop {sum(loop_s) / length_s:.3f} s, ours {own:.3f} of it, "
        f"at a step of 1 s {same:.3f}; in silence {silent:.4f}"
    )
    return {"decode_ratio_own_step": own, "decode_ratio_same_step": same, "decode_ratio_silence": silent}


def no_speech(config: AsrConfig, model: AsrModel, length_s: float) -> dict[str, float]:
    """Words invented in silence, noise and tones."""
    made = {"silence": sound.silence(length_s), "noise": sound.noise(length_s), "tones": sound.tones(length_s)}
    counts = {}
    for name, samples in made.items():
        run = live.run(samples, config, model)
        counts[f"words_in_{name}"] = len(run.committed)
        print(f"{length_s:.0f} s of {name}: {run.text!r}, {run.decodes} decodes")
    return counts


def word_starts(config: AsrConfig, model: AsrModel, clips: Sequence[Clip]) -> dict[str, float]:
    """Errors of the start times of words on GRID."""
    lags = [lag for clip in clips for lag in word_lags(clip, live.run(clip.sound, config, model))]
    p50, p95 = percentiles([lag.start_error_s for lag in lags])
    print(f"word starts on GRID, {len(lags)} words: error {p50:.3f} / {p95:.3f} s")
    return {"word_start_error_p50_s": p50, "word_start_error_p95_s": p95}


def core_taken_away(config: AsrConfig, model: AsrModel, clips: Sequence[Clip]) -> dict[str, float]:
    """Lags of a live stream of 150 s, in real time, while another process keeps one core busy from 45 to 105 s."""
    clip = sound.join(clips, 150, (0.6,))
    with busy_core(45, 60):
        run = live.run(clip.sound, config, model, wall=True)
    lags = word_lags(clip, run, local=False)
    parts = {"before": (0, 45), "during": (45, 105), "return": (105, 115), "after": (115, 150)}
    shares = {}
    for name, (start_s, end_s) in parts.items():
        p50, p95 = percentiles([lag.tentative_s for lag in lags if start_s <= lag.end_s < end_s])
        print(f"{name}: tentative lag {p50:.2f} / {p95:.2f} s")
        shares[f"tentative_p95_{name}_s"] = p95
    return shares
