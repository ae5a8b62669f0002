"""When somebody begins and ends to speak: hysteresis and hangover over the probabilities of the speech detector."""

from __future__ import annotations

from dataclasses import dataclass

from realtime.types import NS_PER_S, SpeechFrame


@dataclass(frozen=True, slots=True)
class EndpointRules:
    """Thresholds of the probability of speech, and times in seconds."""

    onset: float = 0.5
    """At or above: speech begins."""
    hold: float = 0.35
    """At or above: speech that has begun goes on."""
    pause_s: float = 0.2
    """Silence after which a pause is likely: what was said is decoded at once, without waiting for the step."""
    hangover_s: float = 0.7
    """Silence after which speech has ended."""


class Endpointer:
    """Follows one stream. Pure: the time is that of the frames.

    Attributes:
        active: speech has begun and not ended (a pause within the hangover counts as speech).
        paused: active, and silent for at least `pause_s`.
        speech_end_ns: end of the last frame that was speech; None before the first.
    """

    def __init__(self, rules: EndpointRules | None = None) -> None:
        self.rules = rules or EndpointRules()
        self.active = False
        self.paused = False
        self.speech_end_ns: int | None = None

    def feed(self, frame: SpeechFrame) -> bool:
        """Take a frame; return whether it is speech."""
        speech = frame.probability >= (self.rules.hold if self.active else self.rules.onset)
        if speech:
            self.active, self.paused = True, False
            self.speech_end_ns = frame.end_ns
        elif self.active:
            silent_s = self.silence_s(frame.end_ns)
            self.active = silent_s < self.rules.hangover_s
            self.paused = self.active and silent_s >= self.rules.pause_s
        return speech

    def silence_s(self, t_ns: int) -> float:
        """Seconds without speech at `t_ns`; infinite before the first speech."""
        return float("inf") if self.speech_end_ns is None else (t_ns - self.speech_end_ns) / NS_PER_S

    def stop(self) -> None:
        """End the speech now: the sound broke off."""
        self.active = self.paused = False
