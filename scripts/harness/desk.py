"""A person at a desk: the whole program on real devices and a real broker, and what is expected of it."""

from __future__ import annotations

import itertools
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np

from scripts.harness.camera import child_env
from scripts.harness.live_program import HOP_S, LATENESS_S, Live, Pacemaker, breaks_in, faults_of
from scripts.harness.mosquitto import Mosquitto
from scripts.harness.processes import wait_until
from scripts.harness.sound import SoundServer, sound_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from scripts.harness.camera import HttpCamera, V4l2Camera
    from scripts.harness.live_program import Heard

LOST_S, FROZEN_S, BACK_S, NETWORK_BACK_S = 1.0, 2.0, 3.0, 5.0
SOUND_OF = ("voice", "text")
KEEP = ("allow_anonymous true", "user root", "persistence true", "autosave_on_changes true", "autosave_interval 1")


@dataclass
class Desk:
    """A person at a desk: devices, broker, the program that watches, and who listens to it."""

    camera: V4l2Camera | HttpCamera
    sound: SoundServer
    broker: Mosquitto
    live: Live
    pacemaker: Pacemaker
    speech: np.ndarray

    def speak(self) -> None:
        """Talk from now on."""
        self.sound.hush()
        self.sound.play(np.tile(self.speech, 60))

    def healthy(self, since_s: float = 0.0, timeout_s: float = 60.0) -> Heard:
        """Wait until picture and sound both count."""
        used = ("face", "voice")
        return self.live.first(
            lambda heard: all(heard.part(name)["weight"] > 0 for name in used),
            since_s,
            "a healthy desk",
            "sentiment",
            timeout_s,
        )

    def after(self, since_s: float, kind: str = "sentiment") -> list[Heard]:
        """Messages of a kind that arrived since then."""
        return self.live.heard(kind, since_s=since_s)

    def loses(
        self, names: Sequence[str], since_s: float, within_s: float | None = LOST_S, state: str = "lost"
    ) -> Heard:
        """Wait for the loss of modalities; the first message about it is soon enough, and they weigh nothing."""
        heard = self.live.first(
            lambda heard: all(heard.part(name)["state"] == state for name in names), since_s, f"{names} {state}"
        )
        for part in map(heard.part, names):
            assert part["weight"] == part["reliability"] == 0
        if within_s is not None:
            waited_ms = heard.body["latency_ms"]["fuse"]
            assert heard.part(names[0])["age_ms"] / 1000 + LATENESS_S + waited_ms / 1000 <= within_s, heard
        return heard

    def regains(self, name: str, since_s: float, within_s: float) -> None:
        """Wait for the first weight of a modality after its device came back."""
        heard = self.live.first(lambda heard: heard.part(name)["weight"] > 0, since_s, f"{name} to be back")
        allowed_s = within_s + self.pacemaker.withheld_s(since_s, heard.at_s)
        assert heard.at_s - since_s <= allowed_s, (heard.at_s - since_s, allowed_s)

    def told(self, component: str, kinds: list[str], since_s: float) -> list[dict[str, Any]]:
        """Wait for these events of a component, and no others, in this order."""

        def got() -> list[dict[str, Any]]:
            return [heard.body for heard in self.after(since_s, "event") if heard.body["component"] == component]

        wait_until(lambda: len(got()) >= len(kinds), 5, f"{component} {kinds}")
        assert [event["kind"] for event in got()] == kinds
        return got()

    @contextmanager
    def steadily(self) -> Iterator[float]:
        """Whatever happens meanwhile: a message each hop, none left out, and each keeps what all promise."""
        begin_s = monotonic()
        yield begin_s
        heard = self.after(begin_s)
        bodies = [each.body for each in heard]
        assert breaks_in(bodies) == []
        assert [fault for body in bodies for fault in faults_of(body)] == []
        for early, late in itertools.pairwise(heard):
            withheld_s = self.pacemaker.withheld_s(early.at_s, late.at_s)
            assert late.at_s - early.at_s <= 2 * HOP_S + withheld_s, (early.body["seq"], withheld_s)


@contextmanager
def desk_with(
    camera: V4l2Camera | HttpCamera,
    address: str,
    folder: Path,
    speech: np.ndarray,
    program: Sequence[str] = ("-m", "realtime.run"),
    **env: str,
) -> Iterator[Desk]:
    """Run a desk until all is well; `program` is what Python runs, `env` more of its environment."""
    with ExitStack() as stack:
        sound = stack.enter_context(sound_server())
        broker = Mosquitto(folder, (*KEEP, f"persistence_location {folder}/"))
        stack.callback(broker.close)
        env = child_env(sound) | getattr(camera, "env", {}) | {"OMP_NUM_THREADS": "1"} | env
        live = Live(folder, broker.port, ["--camera", address, "--mic", "default"], env, "reader", program)
        stack.callback(live.close)
        pacemaker = Pacemaker()
        stack.callback(pacemaker.close)
        desk = Desk(camera, sound, broker, live, pacemaker, speech)
        desk.speak()
        desk.healthy()
        yield desk
