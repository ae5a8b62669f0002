"""The configuration of the embedded broker (NATS server, MQTT 3.1.1): limits, and who may do what."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from realtime.errors import UsageError
from realtime.publish.messages import topic

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

HOST = "127.0.0.1"
USER = "agfn"
GUEST = "guest"
MAX_PACKET_BYTES = 16_384
MAX_CONNECTIONS = 1024
MAX_PENDING_BYTES = 2_097_152
"""What a reader that does not read may leave waiting before it is cut off."""
MAX_UNANSWERED = 32
"""Messages of QoS 1 on their way to a reader: with the longest packets fewer bytes than may wait for it."""
SILENT_S = 3
"""A connection that does not say who it is is closed after so long."""
STORE_BYTES = 33_554_432
"""For retained messages, and for QoS 1 that was not acknowledged yet."""
LOG_BYTES = 262_144
INTERNAL = ["$JS.>", "$SYS.>", "$MQTT.JSA.>", "$MQTT.sess.>"]
"""Subjects of the broker's own, which no guest reads; the others of $MQTT are what a subscription with QoS 1 needs."""


def broker_config(port: int, password: str, guest: str, publishable: Iterable[str], folder: Path) -> str:
    """Write the configuration: JSON, which the broker reads as it reads its own format.

    Args:
        port: to listen on for MQTT; -1 takes a free one.
        password: of the user who may do everything.
        guest: password of the user whom a client without a user name becomes; known to nobody.
        publishable: topics that a guest may publish to.
        folder: for its store and its log.

    Raises:
        UsageError: a topic can't be had with this broker.
    """
    subjects = [subject(each) for each in publishable]
    rights = {"publish": {"allow": subjects}, "subscribe": {"allow": [">"], "deny": INTERNAL}}
    # Only MQTT: the broker's own protocol has a port, too, on loopback, and lets nobody in there.
    kinds = {"allowed_connection_types": ["MQTT"]}
    document: dict[str, Any] = {
        "server_name": "agfn",
        "listen": f"{HOST}:-1",
        "max_connections": MAX_CONNECTIONS,
        "max_payload": MAX_PACKET_BYTES,
        "max_pending": MAX_PENDING_BYTES,
        "write_deadline": "2s",
        "log_file": str(folder / "broker.log"),
        "logfile_size_limit": LOG_BYTES,
        "logfile_max_num": 2,
        "jetstream": {
            "store_dir": str(folder / "store"),
            "max_memory_store": STORE_BYTES,
            "max_file_store": STORE_BYTES,
        },
        "mqtt": {
            "listen": f"{HOST}:{port}",
            "no_auth_user": GUEST,
            "ack_wait": "10s",
            "max_ack_pending": MAX_UNANSWERED,
            "consumer_memory_storage": True,
        },
        "authorization": {
            "timeout": SILENT_S,
            "users": [
                {"user": USER, "password": password, **kinds},
                {"user": GUEST, "password": guest, **kinds, "permissions": rights},
            ],
        },
    }
    return json.dumps(document, indent=1, ensure_ascii=False)


def open_topics(base: str, streams: Iterable[str], birth: str) -> list[str]:
    """Topics that anyone on this machine may publish to: commands, and Home Assistant's birth message."""
    return [*(topic(base, stream, "command") for stream in streams), birth]


def subject(name: str) -> str:
    """Return the name that the broker itself uses for a topic.

    Raises:
        UsageError: it can't carry this topic.
    """
    if any(letter.isspace() or letter in "*>" for letter in name):
        raise UsageError(f"the embedded broker takes no spaces, * or > in a topic: {name!r}; change mqtt.base")
    levels = [level.replace(".", "//") for level in name.split("/")]
    # An empty level is a slash of its own: /a is /.a and a//b is a./.b
    first, *rest = levels
    parts = [first or "/", *(level or "/" for level in rest)]
    return ".".join(parts)
