"""The settings of a fleet: its hosts, its streams, and how they are placed; configs/fleet.yaml has each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from realtime.capture.names import is_url
from realtime.config.schema import Config, MetricsConfig, StreamConfig
from realtime.config.section import Name, Section
from realtime.config.strictyaml import read_yaml
from realtime.errors import UsageError
from realtime.system.address import PLACEHOLDER, may_hold_secret

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MOST_STREAMS = 10_000
MOST_HOSTS = 256
ASR_POOL = "asr_pool"
"""Where the way to the ASR pool stands in the options of a host, beside its settings."""

PoolAddress = Annotated[
    str, Field(pattern=r"^(unix:/[\x21-\x7e]{1,90}|(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_.-]{1,253}):[0-9]{1,5})$")
]
Labels = Annotated[dict[Name, Name], Field(max_length=32)]


class FleetStream(StreamConfig):
    """A stream of a fleet: what it is made of, and what its host must have."""

    labels: Labels = Field({})
    """Labels that its host must have, such as the site of its camera; needed where it uses a local device."""

    @model_validator(mode="after")
    def _can_move(self) -> FleetStream:
        if self.camera is not None and may_hold_secret(self.camera):
            raise ValueError(
                f"the address of the camera may hold a secret, and a fleet tells its streams to the broker: write "
                f"rtsp://USER@HOST/PATH or {PLACEHOLDER}, and give the hosts AGFN_CAMERA_PASSWORD"
            )
        if has_local_device(self) and not self.labels:
            raise ValueError("a local camera or microphone is on one machine only: say which host has it by `labels`")
        return self

    def spec(self) -> dict[str, Any]:
        """The stream as its host wants it."""
        return self.model_dump(mode="json", exclude={"labels"})


class HostConfig(Section):
    """A host of the local engine."""

    name: Name
    """Shown in messages, status and metrics."""
    cores: float = Field(1.0, gt=0, le=1024)
    """Cores of this machine that its streams may use."""
    labels: Labels = Field({})
    """What streams may ask for."""


class RayConfig(Section):
    """The Ray cluster."""

    address: str = Field("auto", pattern=r"^(auto|local|[A-Za-z0-9_.:\[\]-]{1,253})$")
    """auto joins the cluster that runs on this machine, local starts one on loopback, HOST:PORT joins another."""
    cores: float | None = Field(None, gt=0, le=1024)
    """Cores that a host may use; null takes those of its node."""


class PlacementConfig(Section):
    """Where streams run."""

    cores: float = Field(0.6, gt=0, le=64)
    """What a stream takes, in cores, until it was measured."""
    headroom: float = Field(0.7, gt=0, le=1)
    """New streams fill a host to this share of its cores; the rest is for the streams of a host that is lost."""
    limit: float = Field(1.0, gt=0, le=2)
    """No host is filled beyond this share."""
    lease_s: float = Field(3.0, ge=1, le=60)
    """A host that has not answered for so long has lost its streams."""


class AsrLinks(Section):
    """The way of a host to the recognisers of a pool."""

    addresses: tuple[PoolAddress, ...] = Field((), max_length=64)
    """Of recognisers that run already (`python -m realtime.fleet pool`): HOST:PORT, or unix:/PATH on one machine."""
    token_file: str | None = None
    """Holds the secret of pool and hosts, on each of their machines; or AGFN_ASR_POOL_TOKEN does."""
    ca_file: str | None = None
    """Authorities that the certificates of pools on other machines are checked against; null for the system's."""
    sound: Literal["float32", "int16"] = "float32"
    """How sound is sent: float32 as the host has it, int16 for half the traffic."""
    deadline_s: float = Field(1.0, ge=0.2, le=5)
    """A decode that takes longer is done by the host itself, which then tries the pool with copies only."""
    in_flight: int = Field(16, ge=1, le=256)
    """Decodes that a host has with one recogniser at a time; what is more it does itself."""


class AsrPoolConfig(AsrLinks):
    """Recognisers that decode for all hosts, in batches; each host keeps its own for when they don't answer."""

    processes: int = Field(0, ge=0, le=64)
    """Recognisers that `up` starts on its machine, for hosts of engine local; 0 starts none."""
    model: str | None = None
    """Of the pool, as asr.model; null for that of the hosts. A larger one must be of the same kind: .en, or not."""
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    """Of a recogniser of the pool, as asr.device."""
    threads: int = Field(1, ge=1, le=64)
    """CPU threads of a recogniser of the pool."""
    batch: int = Field(8, ge=1, le=64)
    """Decodes that a recogniser does at once, when so many wait."""
    queue: int = Field(64, ge=1, le=1024)
    """Decodes that may wait at a recogniser; what is more is refused at once."""
    cert_file: str | None = None
    """Certificate (PEM) of a pool that listens beyond its machine."""
    key_file: str | None = None
    """Its key."""

    @property
    def is_on(self) -> bool:
        """Whether there is a pool."""
        return self.processes > 0 or bool(self.addresses)

    def links(self) -> AsrLinks:
        """What a host must know of it."""
        return AsrLinks.model_validate(self.model_dump(include=set(AsrLinks.model_fields)))


class FleetConfig(Section):
    """A fleet."""

    name: Name = "main"
    """Part of the fleet's topics: <base>/_fleet/<name>/..."""
    engine: Literal["local", "ray"] = "local"
    """local: processes on this machine; ray: an actor on each node of a Ray cluster (agfn-live[fleet])."""
    hosts: tuple[HostConfig, ...] = Field((HostConfig(name="host-1"),), min_length=1, max_length=MOST_HOSTS)
    """Hosts of the local engine."""
    ray: RayConfig = RayConfig()
    placement: PlacementConfig = PlacementConfig()
    asr_pool: AsrPoolConfig = AsrPoolConfig()
    metrics: MetricsConfig = MetricsConfig()
    """The fleet's own Prometheus metrics."""
    settings: dict[str, Any] = Field({}, validate_default=True)
    """Settings of every host, as in configs/default.yaml; mqtt.url must name a broker that all of them reach."""
    streams: tuple[FleetStream, ...] = Field((), max_length=MOST_STREAMS)
    """Streams that run from the start; others come and go by command."""

    @field_validator("hosts", "streams")
    @classmethod
    def _names_differ(cls, parts: tuple[Any, ...]) -> tuple[Any, ...]:
        names = [part.name for part in parts]
        if twice := sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []:
            raise ValueError(f"names must differ, but {', '.join(twice[:5])} is there twice")
        return parts

    @field_validator("settings")
    @classmethod
    def _are_settings(cls, settings: dict[str, Any]) -> dict[str, Any]:
        if "streams" in settings:
            raise ValueError("streams stand beside `settings`, not in it")
        try:
            config = Config.model_validate(settings)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            raise ValueError(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}") from None
        if config.mqtt.url in {"off", "embedded"}:
            raise ValueError("mqtt.url must name a broker that every host reaches: mqtt://HOST or mqtts://HOST")
        if config.record.folder is not None:
            raise ValueError("record.folder is of one machine; a fleet's streams move")
        return settings

    @model_validator(mode="after")
    def _pool_is_reached(self) -> FleetConfig:
        if self.asr_pool.processes and self.engine == "ray":
            raise ValueError(
                "asr_pool.processes are reached by hosts of engine local only: run `python -m realtime.fleet pool` and "
                "name its address in asr_pool.addresses"
            )
        return self

    def config(self) -> Config:
        """The settings of the hosts."""
        return Config.model_validate(self.settings)


def read_fleet(path: Path) -> FleetConfig:
    """Read a fleet from its file.

    Raises:
        UsageError: the file can't be read, or something in it is wrong; the message names key and line.
    """
    values, lines = read_yaml(path)
    try:
        return FleetConfig.model_validate(values)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        keys = [str(part) for part in problem["loc"]]
        known = (lines.get(".".join(keys[:length])) for length in range(len(keys), 0, -1))
        line = next((f":{line}" for line in known if line is not None), "")
        said = problem["msg"].removeprefix("Value error, ")
        raise UsageError(f"{path}{line}: {'.'.join(keys) or 'fleet'}: {said}") from None


def read_stream(values: Mapping[str, Any]) -> FleetStream:
    """Read a stream that somebody asks for.

    Raises:
        UsageError: it is none.
    """
    try:
        return FleetStream.model_validate(values)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        said = problem["msg"].removeprefix("Value error, ")
        raise UsageError(f"stream: {'.'.join(map(str, problem['loc']))}: {said}") from None


def has_local_device(stream: StreamConfig) -> bool:
    """Whether a stream uses a camera or a microphone of the machine it runs on."""
    if stream.source is not None:
        return False
    network = stream.camera is not None and is_url(stream.camera)
    own_camera = stream.camera is not None and not network
    return own_camera or (stream.mic is not None and not (network and stream.mic == "auto"))
