"""The face extractor beside the same packaged models asked about one picture at a time, as most programs do.

Ours follows the face (MediaPipe's video mode), takes its own baseline off, and reports quality; it is also measured
with expressions (--channels) and with everyone told apart (--people). CPU time of the process, because MediaPipe
computes in threads of its own; pictures in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from models import zoo
from models.expression import ExpressionReader
from realtime.capture.media import MediaFile
from realtime.config.schema import CameraConfig, FaceConfig
from realtime.extract.face.extractor import FaceExtractor
from realtime.types import Frame

if TYPE_CHECKING:
    from collections.abc import Sequence

SIZE = (640, 480)
WARM_UP = 5


def main(options: Sequence[str]) -> dict[str, Any]:
    """Print one line of JSON."""
    cli = argparse.ArgumentParser(prog="bench.py face", description=__doc__)
    cli.add_argument("--data", type=Path, default=Path(os.environ.get("AGFN_DATA", "../shared/data")))
    cli.add_argument("--quick", action="store_true", help="one clip: to see that it works")
    args, _ = cli.parse_known_args(options)
    clips = sorted((args.data / "mosi_clips").glob("*.mp4"))[: 1 if args.quick else 6]
    model, reader = zoo.path("face"), ExpressionReader()
    ways = {
        "ours": FaceExtractor(FaceConfig(), model),
        "with channels": FaceExtractor(FaceConfig(), model, reader),
        "with people": FaceExtractor(FaceConfig(people=True), model, reader),
        "per picture": FaceExtractor(FaceConfig(), model, stills=True),
    }
    spent: dict[str, list[float]] = {name: [] for name in ways}
    t_ns = 0
    for clip in clips:
        frames = [item for item in MediaFile(clip, CameraConfig()).items(0) if isinstance(item, Frame)]
        for number, frame in enumerate(frames):
            t_ns += 66_000_000
            picture = Frame(t_ns, np.asarray(cv2.resize(frame.image, SIZE), np.uint8))
            for name, extractor in ways.items():
                begin_s = time.process_time()
                list(extractor.feed(picture))
                if number >= WARM_UP:
                    spent[name].append(1000 * (time.process_time() - begin_s))
    for extractor in ways.values():
        extractor.close()
    means = {name: float(np.mean(values)) for name, values in spent.items()}
    result = {
        "face_cpu_ms": {name: round(value, 2) for name, value in means.items()},
        "face_expression_cores_at_15": {
            name: round(0.015 * (means[f"with {name}"] - means["ours"]), 4) for name in ("channels", "people")
        },
        "face_vs_per_picture": round(means["ours"] / means["per picture"], 3),
        "face_pictures": len(spent["ours"]),
    }
    print(json.dumps(result))
    return result
