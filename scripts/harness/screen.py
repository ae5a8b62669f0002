"""A real screen: Xvfb, with a window manager and a compositor, photographed with ImageMagick, clicked with xdotool."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import cv2

from scripts.harness.processes import Program, need, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np


class XServer:
    """A bare X display of `size` pixels; `display` is its name."""

    def __init__(self, folder: Path, size: str = "900x600") -> None:
        need("Xvfb")
        self._folder, self._size = folder, size
        self.display = ""
        self.start()

    def start(self) -> None:
        """Start it, again under its old name."""
        read, write = os.pipe()
        named = [self.display] if self.display else []
        with (self._folder / "xvfb.log").open("ab") as log:
            self._server = subprocess.Popen(
                [
                    *("Xvfb", *named, "-displayfd", str(write), "-screen", "0", f"{self._size}x24", "-nolisten", "tcp"),
                    "-noreset",  # when its last client leaves it would begin anew, and refuse others meanwhile
                ],
                pass_fds=[write],
                stdout=log,
                stderr=log,
            )
        os.close(write)
        with os.fdopen(read) as answer:
            self.display = f":{answer.readline().strip()}"

    def show(self, picture: np.ndarray) -> None:
        """Cover it with a picture of its size, (H, W, 3) BGR."""
        path = self._folder / "shown.png"
        cv2.imwrite(str(path), picture)
        command = ["display", "-display", self.display, "-window", "root", str(path)]
        # It says 1 although it has drawn: who shows something looks whether it is there.
        subprocess.run(command, check=False, timeout=20, env=os.environ | {"DISPLAY": self.display})

    def kill(self) -> None:
        """End it at once."""
        self._server.kill()
        self._server.wait(5)

    def close(self) -> None:
        """End it in order."""
        self._server.terminate()
        self._server.wait(5)


class Screen:
    """An X display of `size` pixels; `env` is the environment for programs that are to be shown on it."""

    def __init__(self, folder: Path, size: str = "900x600") -> None:
        need("openbox", "picom", "xdotool", "import", "xprop", "xwininfo")
        self._server = XServer(folder, size)
        self.display = self._server.display
        self.env = {
            name: value for name, value in os.environ.items() if not name.startswith(("AGFN_", "QT_", "WAYLAND"))
        }
        self.env |= {"DISPLAY": self.display, "XDG_CONFIG_HOME": str(folder / "config"), "QT_QPA_PLATFORM": "xcb"}
        self.env |= {"PYTHONWARNINGS": "error"}
        self._programs = [
            Program(["openbox"], folder / "openbox.log", self.env),
            Program(["picom", "--backend", "xrender", "--config", "/dev/null"], folder / "picom.log", self.env),
        ]
        wait_until(lambda: "window id" in self.run("xprop", "-root", "_NET_SUPPORTING_WM_CHECK"), 10, "openbox's start")

    def run(self, *command: str) -> str:
        """Run a program on this screen to its end, and return what it printed."""
        return subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=20, check=False).stdout

    def photo(self, path: Path, place: tuple[int, int, int, int] | None = None) -> np.ndarray:
        """Photograph the screen or a place (x, y, width, height) of it, to a file and as (H, W, 3) RGB."""
        crop = [] if place is None else ["-crop", f"{place[2]}x{place[3]}+{place[0]}+{place[1]}", "+repage"]
        self.run("import", "-window", "root", *crop, str(path))
        picture = cv2.imread(str(path))
        assert picture is not None, f"no photo in {path}"
        return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)

    def place_of(self, title: str, timeout_s: float = 15.0) -> tuple[int, int, int, int]:
        """Wait for a window to be on the screen and return its x, y, width and height."""
        wait_until(lambda: self._ids(title), timeout_s, f"window {title!r} on the screen")
        lines = self.run("xdotool", "getwindowgeometry", "--shell", self._ids(title)[-1]).splitlines()
        found = dict(line.split("=") for line in lines)
        return int(found["X"]), int(found["Y"]), int(found["WIDTH"]), int(found["HEIGHT"])

    def point(self, x: int, y: int) -> None:
        """Move the pointer."""
        self.run("xdotool", "mousemove", str(x), str(y))

    def click(self, x: int, y: int) -> None:
        """Click with the left button."""
        self.run("xdotool", "mousemove", str(x), str(y), "sleep", "0.05", "click", "1")

    def close(self) -> None:
        """End it all."""
        for program in self._programs:
            program.kill()
        self._server.close()

    def _ids(self, title: str) -> list[str]:
        return self.run("xdotool", "search", "--onlyvisible", "--name", title).split()
