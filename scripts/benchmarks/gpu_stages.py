"""The stages that can run on a CUDA device, each as a function of its batch size; on the CPU by the same code."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from faster_whisper.audio import decode_audio

from models import text_net, zoo
from models.text_graph import PROBES
from models.text_weights import TextWeights
from models.textline import LINES
from models.wordpieces import ENDS, cut, read_tokenizer, so_far
from realtime.extract.asr.hallucination import max_tokens
from realtime.extract.asr.whisper import AsrModel, Request
from realtime.extract.voice.prosody import BLOCK, PAST, OwnVoice
from realtime.extract.voice.prosody_net import ProsodyNet
from realtime.types import SAMPLE_RATE_HZ
from scripts.benchmarks.fusion import windows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from realtime.config.schema import Config
    from realtime.fuse.worker import Fuser
    from realtime.types import Floats

    Stage = Callable[[int], Callable[[], object]]
    """Of a batch size: the call that is timed."""

SPOKEN_S = 5.0
"""Of each decode; what is left of an utterance between two commitments is mostly shorter."""
WARM_UP = 1


def stages(config: Config, device: str, fuser: Fuser) -> dict[str, Callable[[], Stage]]:
    """Return what makes each stage, by its name: but for AGFN, a model is loaded when its turn comes."""
    return {
        "agfn": lambda: agfn(fuser),
        "whisper": lambda: whisper(config),
        **{f"text_{line}": lambda line=line: text(line, device) for line in LINES},  # type: ignore[misc]
        "voice": lambda: voice(device),
    }


def by_batch(stage: Stage, sizes: Sequence[int], rounds: int) -> dict[str, float | None]:
    """Median milliseconds of a call by batch size; None from the first batch on that the memory does not hold."""
    found: dict[str, float | None] = {str(size): None for size in sizes}
    for size in sizes:
        try:
            call, spent = stage(size), []
            for _ in range(WARM_UP + rounds):
                begin_s = time.perf_counter()
                call()
                spent.append(1000 * (time.perf_counter() - begin_s))
        except RuntimeError as error:  # what PyTorch and CTranslate2 raise
            if "out of memory" not in str(error).lower():
                raise
            break
        found[str(size)] = round(float(np.median(spent[WARM_UP:])), 3)
    return found


def agfn(fuser: Fuser) -> Stage:
    """Windows through AGFN as live: padded, copied, fused, judged."""

    def of(size: int) -> Callable[[], object]:
        views = windows(size)
        return lambda: fuser.fuse(views)

    return of


def speech(count: int) -> list[Floats]:
    """So many pieces of read speech, each from another second on."""
    whole = decode_audio(str(zoo.path("demo-voice")))
    length = int(SPOKEN_S * SAMPLE_RATE_HZ)
    starts = [(number * SAMPLE_RATE_HZ) % (len(whole) - length) for number in range(count)]
    return [whole[start : start + length] for start in starts]


def whisper(config: Config) -> Stage:
    """Decodes of the recogniser: features, encoder, decoder, alignment; one alone, or many as in a pool."""
    model = AsrModel(config.asr)

    def of(size: int) -> Callable[[], object]:
        requests = [Request(piece, (), max_tokens(SPOKEN_S), "en") for piece in speech(size)]
        return lambda: model.decode_batch(requests)

    return of


def text(line: str, device: str) -> Stage:
    """Sentences through the network of a text line: words in, readings back on the host."""
    base, weights = LINES[line]
    learned, folder = TextWeights.load(weights), zoo.path(base)
    net = text_net.network(learned, folder).to(device)
    tokenizer, ends = read_tokenizer(folder / "tokenizer.json"), ENDS[learned.encoder]

    def of(size: int) -> Callable[[], object]:
        texts = [PROBES[number % len(PROBES)] for number in range(size)]

        @torch.inference_mode()
        def read() -> object:
            pieces = cut(tokenizer, texts, ends)
            arrays = (pieces.ids, pieces.mask, *so_far(pieces.words))
            return net(*(torch.from_numpy(array).to(device) for array in arrays)).cpu()

        return read

    return of


def voice(device: str) -> Stage:
    """Blocks of sound of as many voices through the analysis of the voice."""
    net = ProsodyNet().to(device).eval()

    def of(size: int) -> Callable[[], object]:
        rng = np.random.default_rng(0)
        blocks = (0.1 * rng.standard_normal((size, PAST + BLOCK))).astype(np.float32)
        usual = np.stack([OwnVoice().usual for _ in range(size)])

        @torch.inference_mode()
        def analyse() -> Any:  # noqa: ANN401 - two tensors
            return [part.cpu() for part in net(torch.from_numpy(blocks).to(device), torch.from_numpy(usual).to(device))]

        return analyse

    return of
