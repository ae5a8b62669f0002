"""What the settings do, whatever the load of the machine: every decode takes the same simulated time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scripts.benchmarks import live, plain, sound
from scripts.benchmarks.lag import percentiles, word_lags
from scripts.benchmarks.words import ErrorRate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from faster_whisper import WhisperModel

    from realtime.config.schema import AsrConfig
    from realtime.extract.asr.transcriber import AsrModel
    from scripts.benchmarks.sound import Clip

DECODE_S = 0.12


def compare(config: AsrConfig, model: AsrModel, whisper: WhisperModel, clips: Sequence[Clip]) -> dict[str, float]:
    """Error rate of the committed text against each clip decoded whole, and the lags."""
    rate, lags, decodes = ErrorRate(), [], 0
    for clip in clips:
        aligned = sound.align(clip, whisper)
        run = live.run(clip.sound, config, model, decode_s=DECODE_S)
        rate.add(clip.text, run.text)
        lags += word_lags(aligned, run)
        decodes += run.decodes
    offline = plain.offline_wer(whisper, clips)
    tentative = percentiles([lag.tentative_s for lag in lags])
    committed = percentiles([lag.committed_s for lag in lags])
    print(
        f"{len(clips)} clips, {rate.words} words: WER {rate.value:.4f}, offline {offline:.4f}, relative "
        f"{rate.value / offline:.3f}; first {tentative[0]:.2f} / {tentative[1]:.2f} s, committed {committed[0]:.2f} / "
        f"{committed[1]:.2f} s, {decodes} decodes"
    )
    return {
        "simulated_wer_committed": rate.value,
        "simulated_wer_offline": offline,
        "simulated_tentative_p50_s": tentative[0],
        "simulated_tentative_p95_s": tentative[1],
        "simulated_committed_p50_s": committed[0],
        "simulated_committed_p95_s": committed[1],
    }
