"""What the extractors of a stream remember: given to them when they are built first, known for as long as they run."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, runtime_checkable

from realtime.config.section import Section

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime.extract.asr.voice_mean import VoiceMeanState
    from realtime.extract.face.memory import FaceState
    from realtime.extract.voice.prosody import VoiceState
    from realtime.runtime.channel import Policy
    from realtime.runtime.runner import Runner
    from realtime.session.state import StreamState

log = logging.getLogger(__name__)

StateT = TypeVar("StateT", bound=Section)


class Memory(Protocol[StateT]):
    """What an extractor remembers of its stream."""

    def snapshot(self, t0_ns: int) -> StateT:
        """Return it, with times since `t0_ns`."""
        ...

    def restore(self, state: StateT, t0_ns: int) -> None:
        """Go on from it."""
        ...


@runtime_checkable
class Remembers(Protocol):
    """A stage with a memory."""

    memory: Memory[Any]


class Keeper(Generic[StateT]):
    """Gives a stage what was remembered for it when it is built first, and knows what it remembers now.

    Args:
        state: remembered for it; None for nothing.
        t0_ns: begin of the stream, by this clock.
    """

    def __init__(self, state: StateT | None, t0_ns: int) -> None:
        self._state, self._t0_ns = state, t0_ns
        self._memory: Memory[StateT] | None = None

    def build(self, make: Callable[[], Any]) -> Any:  # noqa: ANN401 - a stage of any kind
        """Build the stage, in its thread."""
        stage = make()
        if isinstance(stage, Remembers):
            state, self._state = self._state, None
            if state is not None:
                stage.memory.restore(state, self._t0_ns)
            self._memory = stage.memory
        return stage

    def forget(self) -> None:
        """Keep nothing from before a pause."""
        self._state = self._memory = None

    def snapshot(self, t0_ns: int) -> StateT | None:
        """Return what is remembered now, from any thread; None for nothing."""
        if (memory := self._memory) is None:
            return self._state
        try:
            return memory.snapshot(t0_ns)
        except (ValueError, OverflowError) as error:  # what is no number is nothing to go on from
            log.debug("nothing is kept of a %s: %s", type(memory).__name__, error)
            return None


class Memories:
    """A runner whose extractors of face and voice remember.

    Args:
        run: puts each stage in a thread, or in line.
        state: what the stream goes on from.
        t0_ns: begin of the stream, by this clock.
    """

    def __init__(self, run: Runner, state: StreamState | None, t0_ns: int) -> None:
        self._run = run
        self._face: Keeper[FaceState] = Keeper(None if state is None else state.face, t0_ns)
        self._voice: Keeper[VoiceState] = Keeper(None if state is None else state.voice, t0_ns)
        self._mean: Keeper[VoiceMeanState] = Keeper(None if state is None else state.embedding, t0_ns)
        self._keepers: dict[str, Keeper[Any]] = {"face": self._face, "voice": self._voice, "transcribe": self._mean}

    def stage(
        self,
        name: str,
        make: Callable[[], Any],
        sink: Callable[[Any], None],
        policy: Policy,
        capacity: int = 1,
        *,
        coalesce: bool = False,
        done: Callable[[int], None] = lambda _: None,
    ) -> Callable[[Any], None]:
        """See Runner."""
        keeper = self._keepers.get(name)
        build = make if keeper is None else lambda: keeper.build(make)
        return self._run.stage(name, build, sink, policy, capacity, coalesce=coalesce, done=done)

    def forget(self) -> None:
        """Keep nothing from before a pause."""
        for keeper in self._keepers.values():
            keeper.forget()

    def added_to(self, state: StreamState, t0_ns: int) -> StreamState:
        """Return the state with what the extractors remember now."""
        kept = {
            "face": self._face.snapshot(t0_ns),
            "voice": self._voice.snapshot(t0_ns),
            "embedding": self._mean.snapshot(t0_ns),
        }
        return state.model_copy(update=kept)
