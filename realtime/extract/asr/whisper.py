"""One decode step of Whisper at a short audio context.

- The encoder of CTranslate2 takes mel inputs of any length; its cost falls faster than its length. Sound and the
  silence after it are laid into `context_frames` (10 ms each), or more for longer sound, instead of Whisper's 30 s; see
  docs/asr.md.
- Feature extraction, encode, generate and align are called one by one, on the same encoder states.
- Words that are committed already and still in the buffer go in as a forced prefix: they cost no decoding steps and the
  new text cannot contradict them. Nothing else of the past conditions the decoder.
- A narrow beam: greedy decoding loses words at a short context, and most of a decode is the encoder (docs/asr.md).
- Without timestamps: the time of a word comes from the alignment.
- Several decodes are done at once, for a pool that serves many hosts, with the same words as one after the other.
  CTranslate2 wants the tokens before the prefix to be of one number in a batch, the prefixes may differ; its encoder
  wants one length of context; its alignment is normalised over the longest text of a batch, so that is done one by one.
"""

from __future__ import annotations

import math
import threading
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from models.embedding import VoiceEmbedder
from models.weightsfile import CheckpointError
from realtime.config.languages import AUTO, LANGUAGES
from realtime.errors import ModelError
from realtime.types import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime.config.schema import AsrConfig
    from realtime.types import Floats

MEL_FRAMES_PER_S = 100
STATES_PER_S = 50
MEL_TAIL_SAMPLES = 200
"""Half an FFT window of silence, so that the last samples are seen in full."""
LEAST_PROBABILITY = 1e-6
BEAM = 3
"""Hypotheses that are followed at once."""
MARGIN_S = 0.9
"""Silence that follows the sound at least: cut tight, Whisper runs away."""
LONGEST_FRAMES = 3000
"""What Whisper was trained on."""
MEL_FLOOR = 2.0
"""Whisper clips its log-mel at 8 below the maximum and divides by 4: silence lies 2.0 under the loudest cell."""


@dataclass(frozen=True, slots=True)
class Timed:
    """A word with its times in seconds from the beginning of the sound that was decoded.

    `tokens` are those of the word itself, `marks` those of the punctuation after it.
    """

    start_s: float
    end_s: float
    text: str
    probability: float
    tokens: tuple[int, ...]
    marks: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What the decoder made of a buffer: the words after the prefix, and the evidence that it heard speech.

    `no_speech` is the probability of Whisper's no-speech token, `mean_logprob` that of a token of the new words;
    `compression` the ratio of zlib over the text (high: repetitive); `cut_short`: the token limit was hit; `language_p`
    the probability of the language, where it had to be detected.
    """

    words: tuple[Timed, ...]
    no_speech: float = 0.0
    mean_logprob: float = 0.0
    compression: float = 1.0
    cut_short: bool = False
    language_p: float = 1.0
    embedding: tuple[float, ...] | None = field(default=None, compare=False)
    """Of the voice that speaks (models/embedding.py), where the model has one."""


@dataclass(frozen=True, slots=True)
class Request:
    """A decode that is asked for, see AsrModel.decode."""

    sound: Floats
    prefix: tuple[int, ...]
    max_tokens: int
    language: str | None


class Embedder(Protocol):
    """What embeds a voice."""

    def embed(self, states: Floats, sound: Floats) -> tuple[float, ...] | None:
        """Return the embedding of an utterance's states (T, D) and its sound, see models.embedding."""
        ...


class Decoder(Protocol):
    """What the recogniser needs of a model."""

    def decode(
        self, sound: Floats, prefix: Sequence[int], max_tokens: int, language: str | None
    ) -> tuple[Hypothesis, str]:
        """Return the hypothesis and the language, see AsrModel.decode."""
        ...


class AsrModel:
    """A Whisper model, loaded once and shared by all streams; CTranslate2 queues calls of several threads.

    Args:
        config: names the model, its device, precision and threads, language and context.
        beam: hypotheses that are followed at once.
        margin_s: silence after the sound for which the context grows.
        embeds: whether the voice is embedded, too.

    Attributes:
        embedder: of voices; None for none.

    Raises:
        ModelError: the model cannot be found or loaded, does not know the language, or its device is not there.
    """

    def __init__(self, config: AsrConfig, beam: int = BEAM, margin_s: float = MARGIN_S, *, embeds: bool = True) -> None:
        import ctranslate2  # noqa: PLC0415 - heavy: loaded when there is something to transcribe

        self._storage = ctranslate2.StorageView.from_array
        self._whisper = _load(config)
        self._mel = self._whisper.feature_extractor
        self._model = self._whisper.model
        self.context_frames = round(config.context_s * MEL_FRAMES_PER_S) // 2 * 2
        self._language, self._beam, self._margin_s = config.language, beam, margin_s
        _check_language(self._whisper, config)
        self.embedder: Embedder | None = _embedder(config.hears_with) if embeds else None
        self._tokenizers: dict[str, Any] = {}
        self._lock = threading.Lock()

    def decode(
        self, sound: Floats, prefix: Sequence[int], max_tokens: int, language: str | None
    ) -> tuple[Hypothesis, str]:
        """Decode mono sound at 16 kHz, (N,) float32, of at most 30 s.

        Args:
            sound: what was heard; if it does not fit the context with a margin of silence, the context grows.
            prefix: tokens of the words at its beginning that are certain.
            max_tokens: most new tokens; the runaway guard.
            language: its code, or None to detect it now.

        Returns:
            The hypothesis (words after the prefix) and the language it was decoded in.
        """
        return self.decode_batch([Request(sound, tuple(prefix), max_tokens, language)])[0]

    def decode_batch(self, requests: Sequence[Request]) -> list[tuple[Hypothesis, str]]:
        """Decode several sounds at once: what `decode` returns for each, in the order of the requests.

        Those that need the same context are encoded and generated together.
        """
        alike: dict[int, list[int]] = {}
        for number, request in enumerate(requests):
            alike.setdefault(self._context(len(request.sound)), []).append(number)
        found: dict[int, tuple[Hypothesis, str]] = {}
        for numbers in alike.values():
            found |= zip(numbers, self._decode_alike([requests[number] for number in numbers]), strict=True)
        return [found[number] for number in range(len(requests))]

    def _decode_alike(self, requests: Sequence[Request]) -> list[tuple[Hypothesis, str]]:
        """Decode sounds that need the same context."""
        alone = len(requests) == 1
        states = self._model.encode(self._storage(np.concatenate([self.features(each.sound) for each in requests])))
        languages = self._languages(requests, states)
        tokenizers = [self._tokenizer(language) for language, _ in languages]
        prompts = [
            [*tokenizer.sot_sequence, tokenizer.no_timestamps, *request.prefix]
            for tokenizer, request in zip(tokenizers, requests, strict=True)
        ]
        # CTranslate2 halves its limit, as Whisper leaves half of its context to the prompt, and counts the prefix in.
        limits = [min(len(each.prefix) + each.max_tokens, self._whisper.max_length // 2) for each in requests]
        results = self._model.generate(
            states,
            prompts,
            beam_size=self._beam,
            max_length=2 * max(limits),
            num_hypotheses=1 if alone else self._beam,
            return_no_speech_prob=True,
        )
        found: list[tuple[Hypothesis, str]] = []
        for number, (request, result) in enumerate(zip(requests, results, strict=True)):
            if not alone and any(len(tokens) > limits[number] - 2 for tokens in result.sequences_ids):
                # The others' limit let its search go on for longer than its own would have.
                found.append(self.decode_batch([request])[0])
                continue
            own = states if alone else self._storage(_row(states, number))
            language, language_p = languages[number]
            hypothesis = self._hypothesis(request, result, own, tokenizers[number])
            embedding = self._embedding(request.sound, states, number)
            found.append((replace(hypothesis, language_p=language_p, embedding=embedding), language))
        return found

    def _embedding(self, sound: Floats, states: Any, number: int) -> tuple[float, ...] | None:  # noqa: ANN401 - a ctranslate2.StorageView
        if self.embedder is None:
            return None
        return self.embedder.embed(_row(states, number)[0], sound)

    def _hypothesis(
        self,
        request: Request,
        result: Any,  # noqa: ANN401 - a ctranslate2.models.WhisperGenerationResult
        states: Any,  # noqa: ANN401 - a ctranslate2.StorageView
        tokenizer: Any,  # noqa: ANN401 - a faster_whisper Tokenizer
    ) -> Hypothesis:
        prefix, sound = list(request.prefix), request.sound
        # CTranslate2 repeats a forced prefix in its result.
        tokens = [token for token in result.sequences_ids[0][len(prefix) :] if token < tokenizer.eot]
        words, probabilities = self._align(states, tokenizer, prefix, tokens, len(sound))
        return Hypothesis(
            words=words,
            no_speech=float(result.no_speech_prob),
            mean_logprob=float(np.mean(np.log(np.maximum(probabilities, LEAST_PROBABILITY)))) if tokens else 0.0,
            compression=compression_ratio(tokenizer.decode(tokens)),
            cut_short=len(tokens) >= request.max_tokens,
        )

    @property
    def vocabulary(self) -> int:
        """Number of tokens that the model knows: a prefix means the same to models of one number."""
        return int(self._whisper.hf_tokenizer.get_vocab_size())

    def states(self, sound: Floats) -> Floats:
        """Encoder states of the sound, (T, D) float32, 50 a second; those of the silence after it are left out."""
        states = self._model.encode(self._storage(self.features(sound)), to_cpu=True)
        found: Floats = np.asarray(states, np.float32)[0]
        return found[: math.ceil(len(sound) / SAMPLE_RATE_HZ * STATES_PER_S)]

    def features(self, sound: Floats) -> Floats:
        """Log-mel features of the sound laid into the context, (1, mels, frames) float32."""
        most = self._context(len(sound))
        mel = self._mel(sound[: most * SAMPLE_RATE_HZ // MEL_FRAMES_PER_S], padding=MEL_TAIL_SAMPLES)
        context = np.full((1, mel.shape[0], most), mel.max() - MEL_FLOOR, np.float32)
        frames = min(mel.shape[1], most)
        context[0, :, :frames] = mel[:, :frames]
        return context

    def _context(self, samples: int) -> int:
        """Frames of the context for so much sound, an even number."""
        needed = math.ceil((samples / SAMPLE_RATE_HZ + self._margin_s) * MEL_FRAMES_PER_S)
        return min(max(self.context_frames, needed), LONGEST_FRAMES) // 2 * 2

    def _languages(
        self,
        requests: Sequence[Request],
        states: Any,  # noqa: ANN401 - a ctranslate2.StorageView
    ) -> list[tuple[str, float]]:
        """The language that each request is decoded in, and its probability."""
        if self._language != AUTO:
            return [(each.language or self._language, 1.0) for each in requests]
        if all(each.language for each in requests):
            return [(each.language or "", 1.0) for each in requests]
        heard = [likely[0] for likely in self._model.detect_language(states)]
        return [
            (request.language, 1.0) if request.language else (str(token).strip("<|>"), float(probability))
            for request, (token, probability) in zip(requests, heard, strict=True)
        ]

    def _tokenizer(self, language: str) -> Any:  # noqa: ANN401 - a faster_whisper Tokenizer
        from faster_whisper.tokenizer import Tokenizer  # noqa: PLC0415 - heavy

        with self._lock:
            if language not in self._tokenizers:
                self._tokenizers[language] = Tokenizer(
                    self._whisper.hf_tokenizer, self._model.is_multilingual, task="transcribe", language=language
                )
            return self._tokenizers[language]

    def _align(
        self,
        states: Any,  # noqa: ANN401 - a ctranslate2.StorageView
        tokenizer: Any,  # noqa: ANN401 - a faster_whisper Tokenizer
        prefix: list[int],
        tokens: list[int],
        samples: int,
    ) -> tuple[tuple[Timed, ...], Sequence[float]]:
        """Return the words of `tokens` with their times, and the probability of each token.

        The prefix takes part in the alignment but not in the result.
        """
        if not tokens:
            return (), ()
        everything = [*prefix, *tokens]
        heard = math.ceil(samples / SAMPLE_RATE_HZ * MEL_FRAMES_PER_S) + MEL_FRAMES_PER_S
        result = self._model.align(states, tokenizer.sot_sequence, [everything], min(self._context(samples), heard))[0]
        texts, words = tokenizer.split_to_word_tokens(everything)
        probabilities = result.text_token_probs
        return join_words(texts, words, result.alignments, probabilities, len(prefix)), probabilities[len(prefix) :]


def _row(states: Any, number: int) -> Floats:  # noqa: ANN401 - a ctranslate2.StorageView
    """Return the encoder states of one sound of a batch, (1, T, D)."""
    import ctranslate2  # noqa: PLC0415 - heavy

    there = states if states.device == "cpu" else states.to_device(ctranslate2.Device.cpu)
    row: Floats = np.ascontiguousarray(np.asarray(there)[number : number + 1])
    return row


def join_words(
    texts: Sequence[str],
    tokens: Sequence[Sequence[int]],
    path: Sequence[tuple[int, int]],
    probabilities: Sequence[float],
    skip_tokens: int = 0,
) -> tuple[Timed, ...]:
    """Turn an alignment into words.

    Punctuation is joined to the word before it but lends it no time: in the alignment it spans the pause that follows.

    Args:
        texts: the words and marks, in order.
        tokens: tokens of each.
        path: (token, encoder state) pairs, rising; one past the last token is the end of the text.
        probabilities: of each token.
        skip_tokens: the words among the first so many tokens are left out.
    """
    begins: dict[int, int] = {}
    for token, state in path:
        begins.setdefault(token, state)
    last = max((state for _, state in path), default=0)
    words: list[Timed] = []
    at = 0
    for text, own in zip(texts, tokens, strict=True):
        start, end = at, at + len(own)
        at = end
        if start < skip_tokens:
            continue
        mark = not any(letter.isalnum() for letter in text)
        if mark and words:
            words[-1] = _with_mark(words[-1], text, own)
        elif not mark:
            begin_s = begins.get(start, last) / STATES_PER_S
            end_s = begins.get(end, last) / STATES_PER_S
            words.append(Timed(begin_s, end_s, text, float(np.mean(probabilities[start:end])), tuple(own)))
    return tuple(words)


def compression_ratio(text: str) -> float:
    """Length of the text over that of its zlib; about 1 for a sentence, over 2.4 for a loop."""
    raw = text.encode()
    return len(raw) / len(zlib.compress(raw)) if raw else 1.0


def _with_mark(word: Timed, mark: str, tokens: Sequence[int]) -> Timed:
    return replace(word, text=word.text + mark, marks=(*word.marks, *tokens))


def pick_device(name: str) -> tuple[str, int]:
    """Return the device of a name, and its number: auto takes CUDA where there is one.

    Raises:
        ModelError: CUDA, or that one of its devices, is asked for and not there.
    """
    import ctranslate2  # noqa: PLC0415 - heavy

    there = ctranslate2.get_cuda_device_count()
    kind, _, number = name.partition(":")
    if name == "auto":
        return ("cuda" if there else "cpu"), 0
    if kind == "cuda" and not there:
        raise ModelError(f"asr.device {name}: no CUDA device here; use auto or cpu")
    if int(number or 0) >= max(there, 1):
        raise ModelError(f"asr.device {name}: the last CUDA device here is cuda:{there - 1}")
    return kind, int(number or 0)


def pick_compute_type(name: str, device: str, number: int) -> str:
    """Return the compute type of a name; auto takes what is fastest there without loss that is heard."""
    import ctranslate2  # noqa: PLC0415 - heavy

    if name != "auto":
        return name
    if device == "cpu":
        return "int8"
    return "float16" if "float16" in ctranslate2.get_supported_compute_types(device, number) else "float32"


def _check_language(whisper: Any, config: AsrConfig) -> None:  # noqa: ANN401 - a faster_whisper.WhisperModel
    """See that a model knows the language that is asked for: it would hear English in any other, without a word."""
    language = config.language
    if language == "en":
        return
    known = whisper.model.is_multilingual
    if known and (language == AUTO or whisper.hf_tokenizer.token_to_id(f"<|{language}|>") is not None):
        return
    wanted = "any language" if language == AUTO else LANGUAGES[language]
    raise ModelError(
        f"speech model {config.hears_with!r} does not know {wanted} (asr.language {language}): name base, or the folder"
        " of a multilingual CTranslate2 Whisper model"
    )


def _embedder(name: str) -> VoiceEmbedder | None:
    """Load what embeds voices by a model's states, for a model of which it was fitted."""
    try:
        return VoiceEmbedder.load(name)
    except CheckpointError as error:
        raise ModelError(str(error)) from None


def _load(config: AsrConfig) -> Any:  # noqa: ANN401 - a faster_whisper.WhisperModel
    from faster_whisper import WhisperModel  # noqa: PLC0415 - heavy

    device, number = pick_device(config.device)
    try:
        return WhisperModel(
            str(find(config.hears_with)),
            device=device,
            device_index=number,
            compute_type=pick_compute_type(config.compute_type, device, number),
            cpu_threads=config.threads,
            num_workers=config.workers,
        )
    except (OSError, RuntimeError, ValueError) as error:
        problem = " ".join(str(error).split())
        raise ModelError(
            f"speech model {config.hears_with!r} does not load ({problem}); give tiny.en, base, a folder of a "
            "CTranslate2 Whisper model, or a hub name with a network"
        ) from error


def find(name: str) -> Path | str:
    """Return the folder of a model: as given, or from the zoo; any other name is left to the hub.

    Raises:
        ModelError: the zoo knows the name but cannot provide the model.
    """
    if (Path(name) / "model.bin").is_file():
        return Path(name)
    from models import zoo  # noqa: PLC0415 - knows the network, which a folder does not need
    from models.catalogue import CATALOGUE  # noqa: PLC0415 - as above

    if f"asr-{name}" not in CATALOGUE:
        return name
    try:
        return zoo.path(f"asr-{name}")
    except zoo.ZooError as error:
        raise ModelError(str(error)) from error
