"""AGFN Live: streaming real-time sentiment from face, voice and words."""

import os as _os

# Libraries that report their use to their makers unless told not to before they are loaded: onnxruntime (since 1.29 on
# Linux and macOS too, with an identifier of the machine in ~/.cache), huggingface_hub for models that the user names.
for _variable in ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY"):
    _os.environ.setdefault(_variable, "1")
