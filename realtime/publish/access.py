"""How to reach a broker: address, user, password, certificates. Secrets come from the environment or a file."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from realtime.errors import UsageError
from realtime.system.loopback import is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping

    from realtime.config.schema import MqttConfig

PASSWORD_VARIABLE = "AGFN_MQTT_PASSWORD"  # noqa: S105 - the name of a variable, not a password
PORTS = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True, slots=True)
class Access:
    """What a connection needs. `speaks_v5` is false for a broker known to speak MQTT 3.1.1 only."""

    host: str
    port: int
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None
    speaks_v5: bool = True

    @property
    def url(self) -> str:
        """The address as a person may see it: without user and password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}"

    @property
    def shows_password(self) -> bool:
        """Whether the password crosses a network where others can read it."""
        return self.password is not None and self.tls is None and not is_loopback(self.host)


class ClosingSocket(ssl.SSLSocket):
    """A socket that closes when its handshake fails: paho leaves it open, once for every attempt to connect."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - as in the base class
        """Shake hands, or close."""
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


def access_of(config: MqttConfig, environ: Mapping[str, str] | None = None) -> Access:
    """Read the address of an external broker and the secrets that go with it.

    Raises:
        UsageError: the address is no address, a file can't be read, or the parts contradict each other.
    """
    environ = os.environ if environ is None else environ
    parts = urlsplit(config.url)
    try:
        port = parts.port or PORTS[parts.scheme]
    except ValueError:
        raise UsageError(f"mqtt.url {config.url}: the port must be a number from 1 to 65535") from None
    if not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment:
        raise UsageError(f"mqtt.url {config.url}: write {parts.scheme}://HOST or {parts.scheme}://HOST:PORT")
    username = config.username or parts.username
    password = _password(config.password_file, environ)
    if config.password_file and not username:
        raise UsageError("mqtt.password_file needs mqtt.username")
    if parts.scheme == "mqtt":
        _check_no_certificates(config)
    return Access(
        host=parts.hostname,
        port=port,
        username=username,
        password=password if username else None,
        tls=_tls(config) if parts.scheme == "mqtts" else None,
    )


def _password(file: str | None, environ: Mapping[str, str]) -> str | None:
    if file is None:
        return environ.get(PASSWORD_VARIABLE)
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"mqtt.password_file {file}: {getattr(error, 'strerror', None) or 'no text'}") from None
    if not lines or not lines[0]:
        raise UsageError(f"mqtt.password_file {file}: its first line is empty")
    return lines[0]


def _tls(config: MqttConfig) -> ssl.SSLContext:
    if config.key_file and not config.cert_file:
        raise UsageError("mqtt.key_file needs mqtt.cert_file")
    shown = config.ca_file
    try:
        context = ssl.create_default_context(cafile=config.ca_file)
        context.sslsocket_class = ClosingSocket
        if config.cert_file:
            shown = config.cert_file
            context.load_cert_chain(config.cert_file, config.key_file)
    except (ssl.SSLError, OSError) as error:
        raise UsageError(f"certificate file {shown}: {error.strerror or error}; it must be PEM") from None
    return context


def _check_no_certificates(config: MqttConfig) -> None:
    for key in ("ca_file", "cert_file", "key_file"):
        if getattr(config, key):
            raise UsageError(f"mqtt.{key} needs mqtts://, not {config.url}")
