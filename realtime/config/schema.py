"""The configuration: strict (unknown keys are refused and named), one way to set a thing, every value with its unit.

load.py reads it: defaults < file < environment (AGFN_FUSION__DEVICE=cpu) < --set fusion.device=cpu < options.
"""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator, model_validator

from realtime.config.languages import AUTO, LANGUAGES
from realtime.config.rule import RuleConfig
from realtime.config.section import Name, Section
from realtime.system.address import is_url
from realtime.system.shown import is_screen, screen_area

TOPIC = r"^[^+#/\x00-\x1f\x7f-\x9f\u2028\u2029][^+#\x00-\x1f\x7f-\x9f\u2028\u2029]*$"
"""A topic, or its first part: no wildcards, and nothing that a terminal or a log would obey."""


class WindowConfig(Section):
    """The sliding window."""

    length_s: float = Field(4.0, ge=0.5, le=60)
    """Length of a window in seconds."""
    hop_s: float = Field(0.25, ge=0.05, le=10)
    """A window closes, and a message goes out, every hop."""
    lateness_s: float = Field(0.15, ge=0, le=5)
    """How long after its end a window waits at most for what is on its way; without, it closes at once."""


class CameraConfig(Section):
    """How pictures are taken."""

    max_fps: float = Field(15.0, gt=0, le=120)
    """Frames analysed per second at most; the rest is dropped before any work is done."""
    idle_fps: float = Field(8.0, gt=0, le=120)
    """As max_fps, while nobody speaks and the face is still."""
    width: int = Field(640, ge=64, le=7680)
    """Width asked from the camera, in pixels."""
    height: int = Field(480, ge=48, le=4320)
    """Height asked from the camera, in pixels."""
    open_timeout_s: float = Field(5.0, gt=0, le=60)
    """How long a camera may take to open."""
    password_file: str | None = None
    """File with the password of network cameras, for rtsp://USER@HOST/ or {password}; or AGFN_CAMERA_PASSWORD."""
    rtsp_transport: Literal["tcp", "udp"] = "tcp"
    """How rtsp:// is carried: tcp loses nothing and passes firewalls; udp is for cameras that know nothing else."""
    read_timeout_s: float = Field(1.0, gt=0, le=60)
    """Without a frame for so long the camera counts as stalled and is opened again."""


class MicrophoneConfig(Section):
    """How sound is taken."""

    block_ms: int = Field(20, ge=5, le=200)
    """Length of a block in milliseconds."""
    buffer_s: float = Field(30.0, gt=0, le=300)
    """Sound that may wait for the extractors; older sound is dropped and marked as a gap."""
    read_timeout_s: float = Field(0.8, gt=0, le=60)
    """Without a block for so long the microphone counts as stalled and is opened again."""


class FaceConfig(Section):
    """The face extractor (MediaPipe FaceLandmarker)."""

    max_faces: int = Field(3, ge=1, le=10)
    """Faces looked for; the main one is analysed, the number is reported."""
    baseline_s: float = Field(60.0, gt=0, le=3600)
    """Time constant of the running baseline that is subtracted from the blendshapes."""
    people: bool = False
    """Whether messages tell every face by itself: where it is, how it comes across, whether it speaks."""


ENGLISH = "en"
READS_BETTER = {"tiny": "base", "tiny.en": "base"}
"""What reads an utterance again after which model, if nothing else is said."""


class AsrConfig(Section):
    """The recogniser (faster-whisper, incremental)."""

    enabled: bool = True
    """Whether words are transcribed at all."""
    model: str = "auto"
    """auto (tiny.en for English, else base), tiny.en, base, or a folder or hub name of a CTranslate2 Whisper model."""
    language: str = "en"
    """Of the speech: en, de, fr, ..., or auto (detected once and kept). Only what is said in English is scored."""
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    """auto takes CUDA where there is one."""
    compute_type: str = "auto"
    """CTranslate2 compute type; auto is int8 on the CPU and float16 on CUDA, float32 where that can't."""
    threads: int = Field(1, ge=1, le=64)
    """CPU threads of one decode."""
    workers: int = Field(1, ge=1, le=16)
    """Decodes at a time, of different streams: they share one model, and take turns."""
    step_s: float = Field(0.5, ge=0.1, le=10)
    """Least time between two decodes; grows with the decode time when the machine is slow."""
    context_s: float = Field(8.0, ge=4, le=30)
    """Sound the encoder sees, padded with silence; Whisper's own is 30."""
    buffer_s: float = Field(7.0, ge=3, le=28)
    """Longest sound that is decoded at once; must leave a second of margin in the context."""
    reading_model: str = "auto"
    """Reads each ended utterance again for the score: none, a model as above, or auto (base after tiny and tiny.en)."""

    @field_validator("language")
    @classmethod
    def _a_language(cls, language: str) -> str:
        if language != AUTO and language not in LANGUAGES:
            raise ValueError("no language that Whisper knows; write auto, or a code such as en, de, fr, es, pt or zh")
        return language

    @model_validator(mode="after")
    def _models_know_the_language(self) -> AsrConfig:
        for key, name in (("model", self.model), ("reading_model", self.reading_model)):
            if self.language != ENGLISH and name.endswith(f".{ENGLISH}"):
                raise ValueError(
                    f"asr.{key} {name} knows English only; for asr.language {self.language} leave it out, or name base "
                    "or the folder of a multilingual model"
                )
        return self

    @model_validator(mode="after")
    def _buffer_fits(self) -> AsrConfig:
        if self.buffer_s > self.context_s - 1:
            raise ValueError(f"asr.buffer_s {self.buffer_s} must be at most asr.context_s - 1 = {self.context_s - 1}")
        return self

    @property
    def hears_with(self) -> str:
        """Name of the model that recognises words as they are spoken."""
        if self.model == "auto":
            return "tiny.en" if self.language == ENGLISH else "base"
        return self.model

    @property
    def reads_with(self) -> str | None:
        """Name of the model that reads again; None for none."""
        if self.reading_model == "auto":
            return READS_BETTER.get(self.hears_with)
        return None if self.reading_model == "none" else self.reading_model


class TextConfig(Section):
    """What the words say."""

    reader: Literal["mpnet", "minilm"] = "mpnet"
    """mpnet reads better; minilm, distilled from it, is a fifth of the download and of the work."""
    at_once: bool = True
    """Whether a word that turns what was said has a message of its own, once a hop at most, before the next hop's."""


class FusionConfig(Section):
    """The AGFN worker."""

    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    """auto takes CUDA where there is one."""
    backend: str = Field("auto", pattern=r"^(auto|torch|onnx)$")
    """auto takes ONNX Runtime on the CPU where scripts/export.py has made a graph of the weights, else PyTorch."""
    weights: str = "default"
    """default (shipped) or a .safetensors file of scripts/fit.py."""
    max_batch: int = Field(64, ge=1, le=4096)
    """Most windows in one forward pass."""
    max_wait_ms: float = Field(10.0, ge=0, le=1000)
    """How long the oldest window waits for others of a batch."""
    threads: int = Field(1, ge=1, le=64)
    """CPU threads of one forward pass."""
    smoothing_s: float = Field(1.0, ge=0, le=60)
    """Time constant of the smoothing from raw to score; 0 switches it off."""


class MqttConfig(Section):
    """Where messages go."""

    url: str = Field("embedded", pattern=r"^(off|embedded|mqtts?://.+)$")
    """embedded (a broker on loopback, in a process of its own), off, mqtt://host[:port] or mqtts://host[:port]."""
    base: str = Field("agfn", pattern=TOPIC, max_length=200)
    """First part of every topic."""
    port: int = Field(1883, ge=0, le=65535)
    """Port of the embedded broker; 0 takes a free one."""
    username: str | None = None
    """User name at the broker; the password comes from AGFN_MQTT_PASSWORD or password_file."""
    password_file: str | None = None
    """File whose first line is the password."""
    ca_file: str | None = None
    """Certificate authority for mqtts; the system's by default."""
    cert_file: str | None = None
    """Client certificate (PEM) for a broker that asks for one; needs mqtts."""
    key_file: str | None = None
    """Private key (PEM) of cert_file."""
    keepalive_s: int = Field(3, ge=1, le=3600)
    """MQTT keep-alive; a frozen broker is noticed within about twice this time."""

    @model_validator(mode="before")
    @classmethod
    def _off_is_a_word(cls, values: Any) -> Any:  # noqa: ANN401 - as it was read
        # YAML reads off as false.
        off = isinstance(values, dict) and values.get("url") is False
        return {**values, "url": "off"} if off else values

    @field_validator("url")
    @classmethod
    def _no_password(cls, url: str) -> str:
        try:
            urlsplit(url)
        except ValueError:
            raise ValueError("no address; write mqtt://HOST or mqtts://HOST, IPv6 as [::1]") from None
        if "@" in url and ":" in url.split("://", 1)[-1].rsplit("@", 1)[0]:
            raise ValueError("no password in the URL: set AGFN_MQTT_PASSWORD or mqtt.password_file")
        return url


class ChannelsConfig(Section):
    """Further estimates for research, each with its reliability. See docs/channels.md for what they are worth."""

    enabled: bool = False
    """Whether messages carry valence, arousal, expressions, speech rate, pauses and pitch."""


class PrivacyConfig(Section):
    """What may leave the process besides numbers: nothing unless asked for."""

    publish_text: bool = False
    """Whether messages carry the words."""


class RecordConfig(Section):
    """Recording of the sessions: off unless a folder is named. See docs/recording.md for what is kept."""

    folder: str | None = None
    """New folder for one file a stream; null records nothing."""
    text: bool = False
    """Whether the words are kept too."""
    media: bool = False
    """Whether pictures and sound are kept too: needs the consent of everyone who is seen or heard."""

    @model_validator(mode="after")
    def _somewhere(self) -> RecordConfig:
        if self.media and self.folder is None:
            raise ValueError("record.media says what a recording keeps: set record.folder, too")
        return self


class DashboardConfig(Section):
    """The web dashboard, on loopback unless there are a token and TLS."""

    host: str = Field("127.0.0.1", pattern=r"^[A-Za-z0-9_.:-]{1,253}$")
    """Address to listen on; others than this machine reach it only with a token and TLS (0.0.0.0: from everywhere)."""
    port: int | None = Field(None, ge=0, le=65535)
    """Port of the page; 0 takes a free one, null switches it off."""
    broker: str | None = Field(None, pattern=r"^wss?://[^/@\s]+(/[^@\s]*)?$")
    """Address at which a browser reaches an external broker (ws:// or wss://); the embedded one needs none."""
    token_file: str | None = None
    """File with the token that a visitor is asked for; or AGFN_DASHBOARD_TOKEN."""
    cert_file: str | None = None
    """Certificate of the page (PEM, with its chain)."""
    key_file: str | None = None
    """Private key of cert_file (PEM, without a password)."""


class HomeAssistantConfig(Section):
    """Home Assistant's MQTT discovery."""

    enabled: bool = False
    """Whether the streams appear in Home Assistant by themselves."""
    prefix: str = Field("homeassistant", pattern=TOPIC)
    """Home Assistant's discovery prefix."""
    every_s: float = Field(5.0, ge=0.25, le=60)
    """It gets the newest values so often, and at once when a state changes."""


class MetricsConfig(Section):
    """Prometheus metrics, on loopback unless there are a token and TLS."""

    host: str = Field("127.0.0.1", pattern=r"^[A-Za-z0-9_.:-]{1,253}$")
    """Address to listen on; others than this machine reach it only with a token and TLS (0.0.0.0: from everywhere)."""
    port: int | None = Field(None, ge=0, le=65535)
    """Port of /metrics; 0 takes a free one, null switches it off."""
    token_file: str | None = None
    """File with the token that a scrape must bring (Authorization: Bearer ...); or AGFN_METRICS_TOKEN."""
    cert_file: str | None = None
    """Certificate of /metrics (PEM, with its chain)."""
    key_file: str | None = None
    """Private key of cert_file (PEM, without a password)."""


class LslConfig(Section):
    """Lab Streaming Layer."""

    enabled: bool = False
    """Whether the streams are LSL outlets, too (needs pylsl)."""
    scope: Literal["machine", "network"] = "machine"
    """machine: found from this machine only; network: as LSL's own lsl_api.cfg says, by default by everyone there."""
    session: str = Field("default", pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    """LSL session of scope machine; programs of another session do not find the streams."""


class OscConfig(Section):
    """Open Sound Control."""

    address: str | None = Field(None, pattern=r"^([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:]+\]):\d{1,5}$")
    """HOST:PORT that gets a bundle every hop; null sends none."""

    @field_validator("address")
    @classmethod
    def _a_port(cls, address: str | None) -> str | None:
        if address is not None and not 0 < int(address.rpartition(":")[2]) <= 65535:
            raise ValueError("the port must be 1 to 65535")
        return address


class HostConfig(Section):
    """This process, among others that serve streams."""

    name: Name | None = None
    """What messages say of the machine they come from; null says nothing."""
    max_streams: int = Field(64, ge=1, le=1000)
    """Most streams at a time, those that are added while it runs among them."""


class ControlConfig(Section):
    """Streams that are added and removed while it runs: docs/streams.md."""

    stay: bool = False
    """Whether the program goes on, or begins, without a stream, since others may be added."""
    token_file: str | None = None
    """File with the token of who may do so over your own broker; or AGFN_CONTROL_TOKEN. The embedded one needs none."""


class StreamConfig(Section):
    """One person: a camera and a microphone, or a file with sound and picture."""

    name: Name = "desk"
    """Part of the topic."""
    camera: str | None = "0"
    """Index, device path, rtsp:// or http:// URL, or screen[:MONITOR][:X,Y,WIDTH,HEIGHT]; null for none."""
    mic: str | None = "auto"
    """auto (a network camera's own, else default), default, loopback, a number or (part of) a name; null for none."""
    source: str | None = None
    """A media file, or a recording, instead of camera and microphone."""

    @field_validator("camera")
    @classmethod
    def _screen_is_well_written(cls, camera: str | None) -> str | None:
        if camera is not None and is_screen(camera):
            screen_area(camera)
        return camera

    @field_validator("source")
    @classmethod
    def _source_is_a_file(cls, source: str | None) -> str | None:
        if source is not None and is_url(source):
            raise ValueError("this is an address; a source is a file: use --camera for a network camera")
        return source


class Config(Section):
    """Everything that can be set."""

    window: WindowConfig = WindowConfig()
    camera: CameraConfig = CameraConfig()
    microphone: MicrophoneConfig = MicrophoneConfig()
    face: FaceConfig = FaceConfig()
    asr: AsrConfig = AsrConfig()
    text: TextConfig = TextConfig()
    fusion: FusionConfig = FusionConfig()
    channels: ChannelsConfig = ChannelsConfig()
    mqtt: MqttConfig = MqttConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    record: RecordConfig = RecordConfig()
    dashboard: DashboardConfig = DashboardConfig()
    homeassistant: HomeAssistantConfig = HomeAssistantConfig()
    metrics: MetricsConfig = MetricsConfig()
    lsl: LslConfig = LslConfig()
    osc: OscConfig = OscConfig()
    host: HostConfig = HostConfig()
    control: ControlConfig = ControlConfig()
    rules: dict[Name, RuleConfig] = Field({}, max_length=64)
    streams: tuple[StreamConfig, ...] = Field((StreamConfig(),), max_length=64)

    @field_validator("streams")
    @classmethod
    def _names_differ(cls, streams: tuple[StreamConfig, ...], info: ValidationInfo) -> tuple[StreamConfig, ...]:
        control = info.data.get("control")
        if not streams and not (control is not None and control.stay):
            raise ValueError(
                "there is none, so there is nothing to analyse: list one, or set control.stay and add some"
            )
        names = [stream.name for stream in streams]
        if len(set(names)) < len(names):
            raise ValueError(f"stream names must differ, got {', '.join(names)}")
        return streams
