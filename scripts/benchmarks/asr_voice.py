"""Do Whisper's encoder states help to hear feelings? RAVDESS valence by voice, speakers never seen in training.

Ridge over folds of actors: mean and deviation of the 77 voice columns over the clip, of the encoder states, of both,
and of the voice with a few principal components of the states, which a window could carry.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
from faster_whisper.audio import decode_audio
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from realtime.extract.asr.whisper import STATES_PER_S
from realtime.extract.voice.extractor import VoiceExtractor
from realtime.types import SAMPLE_RATE_HZ, Chunk

if TYPE_CHECKING:
    from pathlib import Path

    from faster_whisper import WhisperModel

    from realtime.extract.asr.transcriber import AsrModel
    from realtime.types import Floats

VALENCES = {1: 0.0, 2: 0.5, 3: 2.0, 4: -2.0, 5: -2.5, 6: -2.5, 7: -2.0, 8: 0.5}
"""Of neutral, calm, happy, sad, angry, fearful, disgust, surprised."""
FOLDS = 6
COMPONENTS = 32
PENALTIES = 10.0 ** np.arange(0, 6)


def compare(data: Path, model: AsrModel, whisper: WhisperModel, most: int) -> dict[str, float]:
    """Correlation and mean absolute error of each choice of features over at most `most` files."""
    files = sorted((data / "ravdess").glob("*.ogg"))
    files = [files[index] for index in np.random.default_rng(0).permutation(len(files))[:most]]
    parts = [[int(part) for part in file.stem.split("-")] for file in files]
    valences, actors = np.array([VALENCES[part[2]] for part in parts]), np.array([part[6] for part in parts])
    sounds = [decode_audio(str(file)) for file in files]
    began = time.process_time()
    voice = np.array([voice_statistics(sound) for sound in sounds])
    voice_s = time.process_time() - began
    states = np.array([state_statistics(sound, model, whisper) for sound in sounds])
    states_s = time.process_time() - began - voice_s
    print(
        f"{len(files)} files, {len(set(actors))} actors; CPU per file: voice {1000 * voice_s / len(files):.0f} ms, "
        f"encoder {1000 * states_s / len(files):.0f} ms"
    )
    found: dict[str, float] = {}
    both = np.hstack((voice, states))
    few = make_column_transformer(
        (StandardScaler(), slice(0, voice.shape[1])),
        (make_pipeline(StandardScaler(), PCA(COMPONENTS, random_state=0)), slice(voice.shape[1], None)),
    )
    for name, columns, scaler in (
        ("voice", voice, StandardScaler()),
        ("states", states, StandardScaler()),
        ("both", both, StandardScaler()),
        ("voice_and_components", both, few),
    ):
        ridge = make_pipeline(scaler, RidgeCV(PENALTIES))
        said = cross_val_predict(ridge, columns, valences, groups=actors, cv=GroupKFold(FOLDS))
        r, error = float(np.corrcoef(said, valences)[0, 1]), float(np.abs(said - valences).mean())
        print(f"{name}: {columns.shape[1]} columns, r {r:.3f}, mean absolute error {error:.3f}")
        found |= {f"valence_r_{name}": r, f"valence_error_{name}": error}
    return found


def voice_statistics(sound: Floats) -> Floats:
    """Mean and standard deviation of the voice columns over a clip, (2 x 77,)."""
    return statistics(np.array([item.values for item in VoiceExtractor().feed(Chunk(0, sound))]))


def state_statistics(sound: Floats, model: AsrModel, whisper: WhisperModel) -> Floats:
    """Mean and standard deviation of the encoder states that belong to the sound, (2 x 384,)."""
    states = np.array(whisper.encode(model.features(sound)[0]))[0]  # (T, 384), those of the silence after it included
    return statistics(states[: len(sound) * STATES_PER_S // SAMPLE_RATE_HZ])


def statistics(rows: Floats) -> Floats:
    """Mean and standard deviation of each column of (T, n)."""
    return np.concatenate((rows.mean(0), rows.std(0)))
