"""Speech recognition against its bars.

python -m scripts.bench asr [--data DIR] [--quick] [--rest | --stream | --busy | --contexts | --voice | --simulate |
    --reading MODEL]

The stream runs in real time beside camera, voice and fusion of the program (beside.py); with --quick its idle times are
skipped (live.py). Decoder times are CPU times, compared with a plain loop in the same run (plain.py).
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from realtime.config.schema import AsrConfig
from realtime.extract.asr.transcriber import AsrModel
from realtime.types import SAMPLE_RATE_HZ
from scripts.benchmarks import asr_contexts, asr_reading, asr_simulated, asr_voice, live, plain, sound
from scripts.benchmarks.beside import rest_of_the_program
from scripts.benchmarks.busy import busy_core
from scripts.benchmarks.lag import percentiles, slope_ms_per_min, word_lags
from scripts.benchmarks.words import ErrorRate

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from faster_whisper import WhisperModel

    from scripts.benchmarks.sound import Clip

PAUSES_S = (0.6, 2.5, 1.0, 8.0, 0.3)
COMPARED_S = 60.0
CORE_TAKEN_S, CORE_BACK_S, BUSY_STREAM_S = 45, 105, 150
RECOVERY_S = 10
BUSY_CLIPS = 40


def main(options: Sequence[str]) -> dict[str, Any]:
    """Run the benchmark, print its JSON line and return what it says."""
    parser = argparse.ArgumentParser(prog="bench.py asr", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("AGFN_DATA", "../shared/data")))
    parser.add_argument("--quick", action="store_true", help="less of everything: to see that it works")
    parser.add_argument("--model", default=AsrConfig().hears_with)
    parser.add_argument("--step", type=float, default=AsrConfig().step_s, help="seconds between decodes")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--rest", action="store_true", help="only what needs no real time: all but the live stream")
    only.add_argument("--stream", action="store_true", help="only the live stream")
    only.add_argument("--contexts", action="store_true", help="only compare audio contexts")
    only.add_argument("--busy", action="store_true", help="only take one core away for 60 s of a live stream")
    only.add_argument("--voice", action="store_true", help="only tell whether encoder states help the voice features")
    only.add_argument("--simulate", action="store_true", help="only WER and lags with a fixed decode time, 70 clips")
    only.add_argument("--reading", metavar="MODEL", help="only what a second reading by this model is worth")
    parser.add_argument("--texts", type=Path, help="keep the texts of --reading in this JSON file")
    parser.add_argument("--context", type=float, default=AsrConfig().context_s, help="seconds the encoder sees")
    arguments, _ = parser.parse_known_args(options)
    buffer_s = min(AsrConfig().buffer_s, arguments.context - 1)
    config = AsrConfig(model=arguments.model, step_s=arguments.step, context_s=arguments.context, buffer_s=buffer_s)
    found = measure(arguments, config, AsrModel(config), plain.load(config))
    print(json.dumps(found))
    return found


def measure(arguments: Namespace, config: AsrConfig, model: AsrModel, whisper: WhisperModel) -> dict[str, Any]:
    """Measure what was asked for."""
    if arguments.voice:
        return asr_voice.compare(arguments.data, model, whisper, 120 if arguments.quick else 480)
    if arguments.simulate:
        clips = sound.mosi(arguments.data, 10 if arguments.quick else 70)
        return asr_simulated.compare(config, model, whisper, clips)
    clips = sound.mosi(arguments.data, 40 if arguments.quick else None)
    if arguments.reading:
        return asr_reading.compare(config, model, clips, arguments.reading, arguments.texts)
    if arguments.contexts:
        return asr_contexts.compare(config, clips, sound.grid(arguments.data))
    return live_bars(arguments, config, model, whisper, clips)


def live_bars(
    arguments: Namespace, config: AsrConfig, model: AsrModel, whisper: WhisperModel, clips: Sequence[Clip]
) -> dict[str, Any]:
    """Measure the bars, or the part of them that was asked for."""
    if arguments.busy:
        few = [sound.align(clip, whisper) for clip in clips[:: max(1, len(clips) // BUSY_CLIPS)]]
        with rest_of_the_program(arguments.data, BUSY_STREAM_S):
            return core_taken_away(config, model, few, shorter=3.0 if arguments.quick else 1.0)
    aligned = [sound.align(clip, whisper) for clip in clips]
    length_s = 180 if arguments.quick else 1200
    lags: dict[str, float] = {}
    if not arguments.rest:
        with rest_of_the_program(arguments.data, length_s):
            lags = stream(config, model, sound.join(aligned, length_s, PAUSES_S), wall=not arguments.quick)
    if arguments.stream:
        return lags
    return {
        **errors(config, model, whisper, clips),
        **lags,
        **decoder_time(config, model, whisper, aligned),
        **no_speech(config, model, 60 if arguments.quick else 300),
        **word_starts(config, model, sound.grid(arguments.data)),
        "context_frames": model.context_frames,
    }


def errors(config: AsrConfig, model: AsrModel, whisper: WhisperModel, clips: Sequence[Clip]) -> dict[str, float]:
    """Word error rates of the committed text, and of decoding each clip whole."""
    rate = ErrorRate()
    for clip in clips:
        rate.add(clip.text, live.run(clip.sound, config, model).text)
    offline = plain.offline_wer(whisper, clips)
    print(f"WER over {len(clips)} clips ({rate.words} words): committed {rate.value:.4f}, offline {offline:.4f}")
    return {"wer_committed": rate.value, "wer_offline": offline}


def stream(config: AsrConfig, model: AsrModel, clip: Clip, *, wall: bool) -> dict[str, float]:
    """Lags over a long stream with pauses."""
    run = live.run(clip.sound, config, model, wall=wall)
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
    own, same, silent = live.Metered(model), live.Metered(model), live.Metered(model)
    loop_s = 0.0
    # In turns, so that all three meet the same load of the machine.
    for piece in np.array_split(speech, 4):
        loop_s += plain.loop_s(whisper, piece)
        live.run(piece, config, own)
        live.run(piece, slow_config, same)
    live.run(quiet, config, silent)
    ratios = {
        "decode_ratio_own_step": own.spent_s / loop_s,
        "decode_ratio_same_step": same.spent_s / loop_s,
        "decode_ratio_silence": silent.spent_s / plain.loop_s(whisper, quiet),
    }
    length_s = len(speech) / SAMPLE_RATE_HZ
    print(
        f"decoder time per second of speech: plain loop {loop_s / length_s:.3f} s; of it ours "
        f"{ratios['decode_ratio_own_step']:.3f}, at a step of 1 s {ratios['decode_ratio_same_step']:.3f}; "
        f"in silence {ratios['decode_ratio_silence']:.4f}"
    )
    return ratios


def no_speech(config: AsrConfig, model: AsrModel, length_s: float) -> dict[str, float]:
    """Words invented in silence, noise and tones."""
    made = {"silence": sound.silence(length_s), "noise": sound.noise(length_s), "tones": sound.tones(length_s)}
    counts: dict[str, float] = {}
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


def core_taken_away(
    config: AsrConfig, model: AsrModel, clips: Sequence[Clip], *, shorter: float = 1.0
) -> dict[str, float]:
    """Lags of a live stream of 150 s, in real time, while another process keeps one core busy from 45 to 105 s.

    `shorter` divides these times, to see that it works.
    """
    taken_s, back_s, length_s = (at / shorter for at in (CORE_TAKEN_S, CORE_BACK_S, BUSY_STREAM_S))
    clip = sound.join(clips, length_s, (0.6,))
    with busy_core(taken_s, back_s - taken_s):
        run = live.run(clip.sound, config, model, wall=True)
    lags = word_lags(clip, run, local=False)
    parts = {
        "before": (0, taken_s),
        "during": (taken_s, back_s),
        "return": (back_s, back_s + RECOVERY_S),
        "after": (back_s + RECOVERY_S, length_s),
    }
    shares = {}
    for name, (start_s, end_s) in parts.items():
        p50, p95 = percentiles([lag.tentative_s for lag in lags if start_s <= lag.end_s < end_s])
        print(f"{name}: tentative lag {p50:.2f} / {p95:.2f} s")
        shares[f"tentative_p95_{name}_s"] = p95
    return shares
