"""The AGFN worker: one model and one thread for all streams, a forward pass over whatever windows wait."""

from __future__ import annotations

import hashlib
import logging
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from models.text_weights import TextWeights
from models.textline import LINES
from models.uncertainty import Uncertainty
from models.weightsfile import CheckpointError, read
from realtime.errors import ModelError
from realtime.extract.schema import OLDER, schema_hash
from realtime.fuse.collate import collate
from realtime.fuse.engine import engine_of, pick_device
from realtime.runtime.channel import Channel, ClosedError, Policy
from realtime.runtime.worker import Watchdog, Worker
from realtime.types import MODALITIES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from models.context import Context
    from models.uncertainty import State
    from realtime.clock import Clock, WaitingClock
    from realtime.config.schema import Config, FusionConfig
    from realtime.runtime.worker import WorkerStats
    from realtime.types import Event, Modality, Segment, WindowView

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What AGFN says of one window; `raw` in [-3, 3], the 90 % interval and the 68 % band are None with nothing usable.

    Interval and band lie around `raw` and may reach beyond the scale: they move with the score, then they are cut.
    `weights` sum to 1 over what was used and are exactly 0 for a masked modality; `fuse_s` is the time the forward
    pass took; `odds` are the log odds of a positive sentiment per score.
    """

    raw: float | None
    interval: tuple[float, float] | None
    band: tuple[float, float] | None
    odds: float
    weights: dict[Modality, float]
    fuse_s: float = 0.0

    def p_positive(self, score: float) -> float:
        """Probability that the sentiment is positive, for a score that was made of this estimate."""
        return 1.0 / (1.0 + math.exp(-self.odds * score))


WHOLE_WORDS = 4
"""With fewer words an utterance is not known to be whole: often it was not heard to its end."""
NOTHING = Estimate(None, None, None, 0.0, dict.fromkeys(MODALITIES, 0.0))


class Fuser:
    """AGFN with its weights and calibration on one device.

    Args:
        weights: a .safetensors file of scripts/fit.py.
        device: auto, cpu or cuda[:N].
        clock: for the time a forward pass takes.
        threads: CPU threads of a forward pass.
        backend: auto, torch or onnx, as engine.engine_of.

    Raises:
        ModelError: the file is missing, damaged, or of another feature schema; the device or backend is not there.
    """

    def __init__(self, weights: Path, device: str, clock: Clock, threads: int = 1, backend: str = "auto") -> None:
        self.device = pick_device(device)
        try:
            self.checkpoint = read(weights, schema_hash(), OLDER)
            self.engine = engine_of(self.checkpoint, self.device, backend, threads)
        except CheckpointError as error:
            raise ModelError(str(error)) from None
        self._sure = self.checkpoint.uncertainty or Uncertainty.of(self.checkpoint.calibration)
        self._clock = clock

    def judge_by(self, judgement: tuple[Context, Uncertainty] | None) -> None:
        """Take context and uncertainty from the text line's weights, where they have their own."""
        if judgement is not None:
            context, self._sure = judgement
            self.checkpoint = replace(self.checkpoint, context=context, uncertainty=self._sure)

    def fuse(self, views: Sequence[WindowView]) -> list[Estimate]:
        """Estimate each window; one without any usable modality gets no score."""
        usable = [any(_counts(segment) for segment in view.segments.values()) for view in views]
        if not any(usable):
            return [NOTHING] * len(views)
        begin_ns = self._clock.now_ns()
        kept = [view for view, use in zip(views, usable, strict=True) if use]
        batch = collate(kept, self.checkpoint.config.inputs)
        score, spread, weights = self.engine.run(batch)
        sure = self._sure.judge([state_of(view) for view in kept], spread, batch.reliability)
        fuse_s = (self._clock.now_ns() - begin_ns) / 1e9
        made = iter(
            Estimate(
                raw=raw,
                interval=(raw - wide, raw + wide),
                band=(raw - narrow, raw + narrow),
                odds=odds,
                weights=dict(zip(MODALITIES, row, strict=True)),
                fuse_s=fuse_s,
            )
            for raw, row, wide, narrow, odds in zip(
                *(column.tolist() for column in (score, weights, *sure)), strict=True
            )
        )
        return [next(made) if use else NOTHING for use in usable]


def state_of(view: WindowView) -> State:
    """Which state the uncertainty of a window goes by; a few words that ended are judged as an open utterance is."""
    text = view.segments["text"]
    if text.reliability > 0:
        return "final" if view.opinion == "final" and len(view.words) >= WHOLE_WORDS else "partial"
    return "listening" if text.idle else "none"


def _counts(segment: Segment) -> bool:
    """Whether a modality holds anything that the network looks at: it leaves out steps with a NaN or infinity."""
    return segment.reliability > 0 and bool(np.isfinite(segment.values.sum(-1)).any())


class FusionWorker(Worker):
    """A thread that batches the windows of all streams: full, or when the oldest has waited `max_wait_ms`.

    It is watched like every worker: a forward pass that hangs is left behind with its windows, one that raises leaves
    its windows without a score.

    Args:
        fuser: the model.
        config: batch size and longest wait.
        clock: of the process.
        streams: how many streams hand in windows; see `serve`.
        on_result: called with each window and its estimate, in order per stream.
        on_event: called when it stalls, fails and recovers.
        hang_s: how long a forward pass may take, with the messages of its windows.
    """

    def __init__(
        self,
        fuser: Fuser,
        config: FusionConfig,
        clock: WaitingClock,
        streams: int,
        on_result: Callable[[WindowView, Estimate], None],
        on_event: Callable[[Event], None] = lambda _: None,
        hang_s: float = 5.0,
    ) -> None:
        super().__init__("fusion", clock, lambda event: None if event.kind == "started" else on_event(event), hang_s)
        self._fuser, self._config, self._streams = fuser, config, streams
        self._on_result = on_result
        waiting = 4 * max(streams, config.max_batch)
        self._channel: Channel[tuple[int, WindowView]] = Channel(Policy.DROP_OLDEST, waiting, clock)
        self._watchdog = Watchdog([self], clock)
        self._fuse_s = 0.0

    def start(self) -> None:
        """Start the thread, and who watches it."""
        super().start()
        self._watchdog.start()

    def serve(self, streams: int) -> None:
        """Take note of how many streams hand in windows now: a batch is full with one of each."""
        self._streams = streams

    def submit(self, view: WindowView) -> None:
        """Hand in a closed window; never waits."""
        self._channel.push((self._clock.now_ns(), view))

    def gauge(self) -> WorkerStats:
        """Return the counts of the windows handed in, worked off and dropped."""
        stats = self._channel.stats()
        return replace(super().gauge(), items=stats.popped, delay_ms=self._fuse_s * 1000, channel=stats)

    def close(self, timeout_s: float) -> None:
        """Work off what waits and end."""
        self._channel.close()
        self.join(timeout_s)
        self._watchdog.stop()
        self.stop()

    def _run(self, generation: int) -> None:
        while self._current(generation):
            try:
                waited = self._gather()
            except ClosedError:
                return
            for begin in range(0, len(waited), self._config.max_batch):
                self._work(generation, waited[begin : begin + self._config.max_batch])

    def _work(self, generation: int, waited: list[tuple[int, WindowView]]) -> None:
        if not self._current(generation):
            return
        self._enter()
        views = [view for _, view in waited]
        estimates = self._estimate(generation, views)
        for view, estimate in zip(views, estimates or [NOTHING] * len(views), strict=True):
            if not self._current(generation):
                return
            self._hand_on(view, estimate)
        if self._current(generation):
            self._leave()
            if estimates:
                self._fuse_s = estimates[0].fuse_s
                self._delivered(views[-1].end_ns)
                self._lagged((self._clock.now_ns() - waited[-1][0]) / 1e9)

    def _gather(self) -> list[tuple[int, WindowView]]:
        waiting = self._channel.pop_all()
        full = min(self._streams, self._config.max_batch)
        deadline_ns = waiting[0][0] + int(self._config.max_wait_ms * 1e6)
        while len(waiting) < full and (left_s := (deadline_ns - self._clock.now_ns()) / 1e9) > 0:
            try:
                waiting += self._channel.pop_all(left_s)
            except (TimeoutError, ClosedError):
                break
        return waiting

    def _hand_on(self, view: WindowView, estimate: Estimate) -> None:
        try:
            self._on_result(view, estimate)
        except Exception:
            # One message that can't be made or sent must not end those of all streams.
            log.exception("stream %s: no message for window %d", view.stream, view.seq)

    def _estimate(self, generation: int, views: list[WindowView]) -> list[Estimate] | None:
        try:
            return self._fuser.fuse(views)
        except Exception as error:  # out of memory, a lost device, whatever: the next window may work
            log.debug("fusion of %d windows failed", len(views), exc_info=error)
            if self._current(generation):
                self._fail("lost", f"fusion: {type(error).__name__}: {error}")
            return None


WEIGHTS = Path(__file__).resolve().parents[2] / "models" / "weights" / "agfn.safetensors"


def weights_of(config: Config) -> Path:
    """Return the weights file that the configuration names."""
    return WEIGHTS if config.fusion.weights == "default" else Path(config.fusion.weights)


def fuser_of(config: Config, clock: Clock) -> Fuser:
    """Load AGFN as the configuration says.

    Raises:
        ModelError: the weights file is missing, damaged or of another schema.
    """
    fuser = Fuser(weights_of(config), config.fusion.device, clock, config.fusion.threads, config.fusion.backend)
    if config.fusion.weights == "default":
        try:
            fuser.judge_by(TextWeights.load(LINES[config.text.reader][1]).judgement)
        except CheckpointError as error:
            raise ModelError(str(error)) from None
    return fuser


def digest_of(config: Config) -> str:
    """Return the sha256 of the weights file, in hex: it tells a replay whether its scores must be the same.

    Raises:
        ModelError: the file can't be read.
    """
    path = weights_of(config)
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}") from None
