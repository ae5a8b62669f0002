"""How many CUDA devices this machine has, asked of the driver: PyTorch is half a gigabyte to hear of none."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


@cache
def devices() -> int:
    """Return the number of devices; 0 without a driver."""
    try:
        driver = ctypes.CDLL(LIBRARY)
        count = ctypes.c_int(0)
        if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
            return 0
    except (OSError, AttributeError):
        return 0
    return count.value
