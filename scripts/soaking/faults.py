"""What can go wrong: how it is done to the rig, how it is noticed, and when it is over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scripts.soaking.rig import healthy, hears, sees

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scripts.harness.live_program import Heard
    from scripts.soaking.rig import Rig

HANG_S = 10.0
"""When the supervisor gives up a call."""
HOUR_S = 3600
AWAY_S = 60.0


@dataclass(frozen=True)
class Moments:
    """When a fault was done, mended, and over, in monotonic seconds."""

    harmed_s: float
    mended_s: float
    back_s: float


@dataclass(frozen=True)
class Fault:
    """A way to break a part, and to mend it.

    Attributes:
        kind: for people.
        harm: breaks it.
        mend: puts it right.
        stream: whose messages tell.
        noticed: a message that shows it; None where nobody may notice.
        noticed_kind: kind of that message.
        event: component and kind of the event that tells it, where that is what to wait for.
        gone: modality that weighs nothing until the mending.
        back: a message after the mending that shows that all is well.
        hold_s: how long it lasts; None for some seconds.
        back_s: how long that may take.
        silent: whether nobody hears the program meanwhile.
        check: what else is broken when it is over.
    """

    kind: str
    harm: Callable[[], object]
    mend: Callable[[], object]
    stream: str = "desk"
    noticed: Callable[[Heard], bool] | None = None
    noticed_kind: str = "sentiment"
    event: tuple[str, str] | None = None
    gone: str | None = None
    back: Callable[[Heard], bool] = healthy
    hold_s: float | None = None
    back_s: float = 20.0
    silent: bool = False
    check: Callable[[Moments], Iterable[str]] | None = None

    @property
    def mended(self) -> tuple[str, str] | None:
        """Component and kind of the event that tells of the mending; a recording goes on in the next run only."""
        return None if self.event is None or self.event[0] == "recording" else (self.event[0], "recovered")


def blind(heard: Heard) -> bool:
    """Whether the face weighs nothing."""
    return not sees(heard)


def deaf(heard: Heard) -> bool:
    """Whether the voice weighs nothing."""
    return bool(heard.part("voice")["weight"] == 0)


def doubted(heard: Heard) -> bool:
    """Whether the voice is believed less than half of what a clear one is."""
    return bool(heard.part("voice")["reliability"] < 0.5)


def anything(_: Heard) -> bool:
    """Whether there is a message at all."""
    return True


def faults(rig: Rig) -> list[Fault]:
    """Return every fault once."""
    return [*_cameras(rig), *_microphones(rig), *_network(rig), *_stages(rig)]


def long_outage(rig: Rig) -> Fault:
    """Return the outage of the broker of a minute: events pile up, sentiment goes stale."""
    return Fault("broker away for 60 s", rig.kill_broker, rig.broker.start, back=anything, hold_s=AWAY_S, silent=True)


def _cameras(rig: Rig) -> list[Fault]:
    eye, far = rig.camera, rig.network

    def local(kind: str, harm: Callable[[], object], mend: Callable[[], object] = eye.run) -> Fault:
        return Fault(kind, harm, mend, noticed=blind, gone="face")

    return [
        local("camera unplugged", eye.unplug),
        local("camera stalled", eye.stall),
        local("picture frozen", eye.freeze),
        local("camera back with another size", eye.unplug, rig.other_size),
        local("lens covered", lambda: eye.show(rig.black), lambda: eye.show(rig.large)),
        Fault("camera slow", lambda: eye.set_fps(3), lambda: eye.set_fps(25), event=("camera", "slow")),
        Fault("camera crawling", lambda: eye.set_fps(1.5), lambda: eye.set_fps(25), event=("camera", "slow")),
        Fault("network camera killed", far.kill, far.start, "hall", noticed=blind, gone="face"),
        Fault("network camera stalled", far.stall, far.run, "hall", noticed=blind, gone="face"),
    ]


def _microphones(rig: Rig) -> list[Fault]:
    sound = rig.sound

    def local(kind: str, harm: Callable[[], object], mend: Callable[[], object]) -> Fault:
        return Fault(kind, harm, mend, noticed=deaf, gone="voice")

    return [
        local("microphone muted", sound.mute, lambda: sound.mute(False)),
        local("microphone removed", rig.pull_out, rig.plug_in),
        local("microphone back with another rate", rig.pull_out, lambda: rig.plug_in(other_rate=True)),
        Fault("default microphone changed", rig.second_microphone, rig.first_microphone, back=hears),
        Fault("microphone clipped", lambda: rig.speak(loud=30), rig.speak, noticed=doubted, back=hears),
        Fault("noise as loud as the voice", rig.drown, rig.speak, noticed=doubted, back=hears),
        local("sound server frozen", sound.freeze, sound.thaw),
        local("sound server killed", sound.kill, rig.restart_sound),
    ]


def _network(rig: Rig) -> list[Fault]:
    broker = rig.broker

    def away(kind: str, harm: Callable[[], object], mend: Callable[[], object]) -> Fault:
        return Fault(kind, harm, mend, back=anything, silent=True)

    return [
        away("broker killed", rig.kill_broker, broker.start),
        away("broker frozen", broker.freeze, broker.thaw),
        away("broker refuses", rig.refuse, rig.readmit),
        Fault("wall clock an hour back", lambda: rig.set_clock(-HOUR_S), lambda: rig.set_clock(0)),
        Fault("wall clock an hour ahead", lambda: rig.set_clock(HOUR_S), lambda: rig.set_clock(0)),
    ]


def _stages(rig: Rig) -> list[Fault]:
    def fails(stage: str, what: str) -> Callable[[], object]:
        return lambda: rig.trouble(f"{stage} {what}")

    return [
        Fault("face extractor crashes", fails("face", "bug"), rig.trouble, noticed=blind, gone="face"),
        Fault("face extractor out of memory", fails("face", "memory"), rig.trouble, noticed=blind, gone="face"),
        Fault("face extractor slow", fails("face", "slow"), rig.trouble, event=("face", "overload"), hold_s=1.0),
        Fault("recogniser crashes", fails("asr", "bug"), rig.trouble, event=("transcribe", "lost")),
        Fault("recogniser out of memory", fails("asr", "memory"), rig.trouble, event=("transcribe", "lost")),
        Fault(
            "face extractor hangs",
            lambda: rig.hang("face"),
            lambda: rig.let_go("face"),
            noticed=blind,
            hold_s=HANG_S,
        ),
        Fault(
            "recogniser hangs",
            lambda: rig.hang("asr"),
            lambda: rig.let_go("asr"),
            event=("transcribe", "stalled"),
            hold_s=2.0,
        ),
    ]
