"""Measure the usual face at rest, and write realtime/extract/face/neutral_blendshapes.py.

python -m scripts.neutral_face [--data ../shared/data] [--pictures 1500] [--out FILE]

The median blendshapes of FER2013's neutral faces. Medians, because a few faces that were read wrongly pull a mean.
"""

from __future__ import annotations

import argparse
import os
import zipfile
from pathlib import Path

import cv2
import numpy as np

from models import zoo
from realtime.config.schema import FaceConfig
from realtime.extract.face.extractor import FaceExtractor
from realtime.extract.face.neutral_blendshapes import NEUTRAL_BLENDSHAPES
from realtime.extract.schema import BLENDSHAPES
from realtime.types import Frame

FACE_PX = 320
BORDER_PX = 80


def neutral_shapes(archive_path: Path, pictures: int) -> np.ndarray:
    """Blendshapes (N, D) of the first neutral faces that are found."""
    at_rest = np.array([NEUTRAL_BLENDSHAPES[name] for name in BLENDSHAPES], np.float32)
    extractor = FaceExtractor(FaceConfig(max_faces=1), zoo.path("face"), stills=True)
    rows = []
    with zipfile.ZipFile(archive_path) as archive:
        members = sorted(name for name in archive.namelist() if Path(name).parent.name == "neutral")
        for member in members[:: max(1, len(members) // pictures)]:
            grey = cv2.imdecode(np.frombuffer(archive.read(member), np.uint8), cv2.IMREAD_COLOR)
            if grey is None:
                raise ValueError(f"{member} is no picture")
            large = cv2.resize(grey, (FACE_PX, FACE_PX), interpolation=cv2.INTER_CUBIC)
            framed = cv2.copyMakeBorder(large, BORDER_PX, BORDER_PX, BORDER_PX, BORDER_PX, cv2.BORDER_REPLICATE)
            rows += [
                face.values[: len(BLENDSHAPES)] + at_rest
                for face in extractor.feed(Frame(0, np.asarray(framed, np.uint8)))
                if face.found
            ]
    extractor.close()
    return np.stack(rows)


def main() -> None:
    """Measure and write."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--data", type=Path, default=Path(os.environ.get("AGFN_DATA", "../shared/data")))
    cli.add_argument("--pictures", type=int, default=1500)
    cli.add_argument("--out", type=Path, default=Path("realtime/extract/face/neutral_blendshapes.py"))
    args = cli.parse_args()
    rows = neutral_shapes(args.data / "fer2013" / "fer2013_48.zip", args.pictures)
    lines = [f'    "{name}": {value:.3f},' for name, value in zip(BLENDSHAPES, np.median(rows, axis=0), strict=True)]
    args.out.write_text(
        f'"""The usual face at rest: medians of {len(rows)} neutral faces, by scripts/neutral_face.py."""\n\n'
        "from __future__ import annotations\n\nfrom typing import Final\n\n"
        "NEUTRAL: Final = {\n" + "\n".join(lines) + "\n}\n",
        encoding="utf-8",
    )
    print(f"{args.out}: {len(rows)} faces")


if __name__ == "__main__":
    main()
