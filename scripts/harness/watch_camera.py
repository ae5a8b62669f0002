"""Run as a program: read a camera and print one JSON line per frame and per error, opening it again after an error."""

import json
import sys
import time
from typing import NoReturn

from realtime.capture.camera import Camera
from realtime.clock import MonotonicClock
from realtime.config.schema import CameraConfig
from realtime.errors import DeviceError


def say(**values: object) -> None:
    """Print one line of JSON."""
    print(json.dumps(values), flush=True)


def main() -> NoReturn:
    """Read until the end of the process."""
    clock = MonotonicClock()
    while True:
        camera = Camera(sys.argv[1], CameraConfig(max_fps=float(sys.argv[2])), clock)
        try:
            camera.open()
            say(opened=True)
            while True:
                frame = camera.read()
                image = frame.image
                checksum = hash(image.tobytes())
                say(t_ns=frame.t_ns, shape=image.shape, mean=float(image.mean()), sum=checksum)
        except DeviceError as error:
            say(error=str(error), t_ns=clock.now_ns())
            time.sleep(0.1)
        finally:
            camera.close()


main()
