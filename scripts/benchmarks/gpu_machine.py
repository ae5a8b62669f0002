"""What a figure from a GPU is worth nothing without: the device, its driver, and the versions of the libraries."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib.metadata import version
from typing import Any

import torch

LIBRARIES = ("torch", "torchaudio", "ctranslate2", "faster-whisper", "onnxruntime", "numpy")


def facts(device: str) -> dict[str, Any]:
    """Return them for a device of PyTorch."""
    return {
        **(_cuda(torch.device(device)) if device.startswith("cuda") else {"device": "cpu"}),
        "cpu": f"{os.cpu_count()} cores, {platform.machine()}",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
    }


def _cuda(device: torch.device) -> dict[str, Any]:
    about = torch.cuda.get_device_properties(device)
    return {
        "device": about.name,
        "memory_gb": round(about.total_memory / 2**30, 1),
        "compute_capability": f"{about.major}.{about.minor}",
        "driver": driver(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }


def driver() -> str | None:
    """Version of the driver, as its own tool tells; None where there is none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    command = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip().partition("\n")[0] or None
