"""How many threads a library takes for one call: one. Streams and stages run side by side already.

More would not make a small call faster: its helper threads wait for it by spinning, which cost a tenth of a core beside
one stream's recogniser. AGFN (`fusion.threads`) and Whisper (`asr.threads`) have settings of their own.
"""

from __future__ import annotations

import os

POOLS = ("OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "OPENCV_FOR_THREADS_NUM")
"""Read by numpy's BLAS and by OpenCV when they are first imported."""


def limit_pools() -> None:
    """Tell the libraries that are imported later; what the user has set stays."""
    for name in POOLS:
        os.environ.setdefault(name, "1")
