"""What Home Assistant is told of a stream: one device with its entities, as a discovery payload.

The keys are those of https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload and of its sensor,
binary_sensor and switch pages; written out in full, because a person reads them in the broker too.
"""

from __future__ import annotations

import hashlib
import json
import re
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from realtime.publish.messages import LABELS, topic
from realtime.types import MODALITIES

ORIGIN = "AGFN Live"
EXPIRE_S = 15
"""Without a value for so long (three times the default interval) an entity is unavailable: the program hangs."""
STREAM_STATES = ("ok", "degraded", "no_signal", "paused")
MODALITY_STATES = ("ok", "noisy", "stale", "lost", "off")
ICONS = {"text": "mdi:text-box-outline", "voice": "mdi:microphone", "face": "mdi:face-recognition"}


def device_id(base: str, stream: str) -> str:
    """Name a device with the characters that a discovery topic may have: letters, digits, `_` and `-`.

    Two names that differ give two ids.
    """
    name = f"{base}-{stream}"
    plain = re.sub(r"[^a-zA-Z0-9_-]", "_", name)
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def config_topic(prefix: str, base: str, stream: str) -> str:
    """`<prefix>/device/<id>/config`; an empty retained payload there removes the device."""
    return f"{prefix}/device/{device_id(base, stream)}/config"


def state_topic(base: str, stream: str) -> str:
    """Where Home Assistant reads: a copy of the sentiment, less often."""
    return f"{base}/{stream}/homeassistant"


def payload(base: str, stream: str, expire_s: float = EXPIRE_S) -> bytes:
    """Compose the discovery payload of a stream.

    Args:
        base: first part of its topics.
        stream: its name.
        expire_s: how long a value holds without a newer one.
    """
    device = device_id(base, stream)
    parts = {
        **_overall(base, stream),
        **{f"{name}_{kind}": part for name in MODALITIES for kind, part in _gate(name).items()},
    }
    for key, part in parts.items():
        part["unique_id"] = f"{device}-{key}"
        if part["platform"] != "switch":
            part["expire_after"] = round(expire_s)
    document = {
        "device": {
            "identifiers": [device],
            "name": f"AGFN {stream}",
            "manufacturer": ORIGIN,
            "model": "Streaming sentiment from face, voice and words",
            "sw_version": _version(),
        },
        "origin": {"name": ORIGIN, "sw_version": _version()},
        "availability": [{"topic": topic(base, stream, "status")}],
        "state_topic": state_topic(base, stream),
        "qos": 0,
        "components": parts,
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _overall(base: str, stream: str) -> dict[str, dict[str, Any]]:
    return {
        "score": {
            "platform": "sensor",
            "name": "Sentiment",
            "icon": "mdi:emoticon-outline",
            "state_class": "measurement",
            "suggested_display_precision": 2,
            "value_template": "{{ value_json.score }}",  # null is rendered None: unknown to Home Assistant
            "json_attributes_topic": state_topic(base, stream),
            "json_attributes_template": "{{ {'interval': value_json.interval, 'confidence': value_json.confidence} "
            "| tojson }}",
        },
        "label": {
            "platform": "sensor",
            "name": "Sentiment in words",
            "icon": "mdi:emoticon-outline",
            "device_class": "enum",
            "options": list(LABELS),
            "value_template": "{{ value_json.label }}",
        },
        "state": {
            "platform": "sensor",
            "name": "State",
            "device_class": "enum",
            "options": list(STREAM_STATES),
            "entity_category": "diagnostic",
            "value_template": "{{ value_json.state }}",
        },
        "problem": {
            "platform": "binary_sensor",
            "name": "Problem",
            "device_class": "problem",
            "entity_category": "diagnostic",
            "value_template": "{{ 'ON' if value_json.state in ('degraded', 'no_signal') else 'OFF' }}",
        },
        "pause": {
            "platform": "switch",
            "name": "Pause",
            "icon": "mdi:pause-circle-outline",
            "command_topic": topic(base, stream, "command"),
            "payload_on": "pause",
            "payload_off": "resume",
            "value_template": "{{ 'pause' if value_json.state == 'paused' else 'resume' }}",
            "retain": False,  # a retained command would be obeyed again at every start, and is refused
            "qos": 1,
        },
    }


def _gate(name: str) -> dict[str, dict[str, Any]]:
    shown, part = name.capitalize(), f"value_json.modalities.{name}"
    percent = {
        "platform": "sensor",
        "icon": ICONS[name],
        "unit_of_measurement": "%",
        "state_class": "measurement",
        "suggested_display_precision": 0,
    }
    return {
        "weight": {
            **percent,
            "name": f"{shown} weight",
            "value_template": f"{{{{ ({part}.weight * 100) | round(1) }}}}",
        },
        "reliability": {
            **percent,
            "name": f"{shown} reliability",
            "entity_category": "diagnostic",
            "value_template": f"{{{{ ({part}.reliability * 100) | round(1) }}}}",
        },
        "state": {
            "platform": "sensor",
            "name": f"{shown} state",
            "icon": ICONS[name],
            "device_class": "enum",
            "options": list(MODALITY_STATES),
            "entity_category": "diagnostic",
            "value_template": f"{{{{ {part}.state }}}}",
        },
    }


def _version() -> str:
    try:
        return version("agfn-live")
    except PackageNotFoundError:
        return "unknown"
