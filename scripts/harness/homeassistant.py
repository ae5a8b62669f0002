"""The documented discovery format of Home Assistant's MQTT integration, as JSON Schema, and its templates.

Written from the tables of these pages; a key that they do not name is refused:
https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload (shared options, device, origin, availability)
https://www.home-assistant.io/integrations/sensor.mqtt/ , .../binary_sensor.mqtt/ , .../switch.mqtt/
"""

from __future__ import annotations

import json
from typing import Any

from jinja2 import StrictUndefined
from jinja2.sandbox import SandboxedEnvironment
from jsonschema import Draft202012Validator

TEXT = {"type": "string", "minLength": 1}
FLAG = {"type": "boolean"}
AMOUNT = {"type": "integer", "minimum": 0}
QOS = {"enum": [0, 1, 2]}
PUBLISH = {"type": "string", "pattern": "^[^+#\\u0000]+$"}
SUBSCRIBE = {"type": "string", "pattern": "^[^\\u0000]+$"}
AVAILABILITY = {
    "availability": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["topic"],
            "properties": {
                "topic": SUBSCRIBE,
                "payload_available": TEXT,
                "payload_not_available": TEXT,
                "value_template": TEXT,
            },
            "additionalProperties": False,
        },
    },
    "availability_mode": {"enum": ["all", "any", "latest"]},
    "availability_template": TEXT,
    "availability_topic": SUBSCRIBE,
    "payload_available": TEXT,
    "payload_not_available": TEXT,
}
ENTITY = {
    **AVAILABILITY,
    "default_entity_id": TEXT,
    "enabled_by_default": FLAG,
    "encoding": {"type": "string"},
    "entity_category": {"enum": ["config", "diagnostic"]},
    "entity_picture": TEXT,
    "icon": {"type": "string", "pattern": "^[a-z]+:[a-z0-9-]+$"},
    "json_attributes_template": TEXT,
    "json_attributes_topic": SUBSCRIBE,
    "name": {"type": ["string", "null"]},
    "platform": TEXT,
    "qos": QOS,
    "state_topic": SUBSCRIBE,
    "unique_id": TEXT,
    "value_template": TEXT,
}
SENSOR = {
    **ENTITY,
    "device_class": TEXT,
    "expire_after": AMOUNT,
    "force_update": FLAG,
    "last_reset_value_template": TEXT,
    "options": {"type": "array", "items": TEXT, "minItems": 1, "uniqueItems": True},
    "state_class": {"enum": ["measurement", "measurement_angle", "total", "total_increasing"]},
    "suggested_display_precision": AMOUNT,
    "unit_of_measurement": TEXT,
}
BINARY_SENSOR = {
    **ENTITY,
    "device_class": TEXT,
    "expire_after": AMOUNT,
    "force_update": FLAG,
    "off_delay": AMOUNT,
    "payload_off": TEXT,
    "payload_on": TEXT,
}
SWITCH = {
    **ENTITY,
    "command_template": TEXT,
    "command_topic": PUBLISH,
    "device_class": {"enum": ["outlet", "switch"]},
    "optimistic": FLAG,
    "payload_off": TEXT,
    "payload_on": TEXT,
    "retain": FLAG,
    "state_off": TEXT,
    "state_on": TEXT,
}


def _component(platform: str, properties: dict[str, Any], *required: str, **more: object) -> dict[str, Any]:
    return {
        "if": {"properties": {"platform": {"const": platform}}},
        "then": {
            "properties": properties,
            "required": ["platform", "unique_id", *required],
            "additionalProperties": False,
            **more,
        },
    }


SCHEMA = {
    "type": "object",
    "required": ["device", "origin", "components"],
    "properties": {
        **AVAILABILITY,
        "state_topic": SUBSCRIBE,
        "command_topic": PUBLISH,
        "qos": QOS,
        "encoding": {"type": "string"},
        "device": {
            "type": "object",
            "anyOf": [{"required": ["identifiers"]}, {"required": ["connections"]}],
            "properties": {
                "identifiers": {"type": "array", "items": TEXT, "minItems": 1},
                "connections": {"type": "array"},
                **dict.fromkeys(
                    (
                        "configuration_url",
                        "hw_version",
                        "manufacturer",
                        "model",
                        "model_id",
                        "name",
                        "serial_number",
                        "suggested_area",
                        "sw_version",
                        "via_device",
                    ),
                    TEXT,
                ),
            },
            "additionalProperties": False,
        },
        "origin": {
            "type": "object",
            "required": ["name"],
            "properties": {"name": TEXT, "sw_version": TEXT, "support_url": TEXT},
            "additionalProperties": False,
        },
        "components": {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {
                "type": "object",
                "required": ["platform"],
                "properties": {"platform": {"enum": ["sensor", "binary_sensor", "switch"]}},
                "allOf": [
                    _component(
                        "sensor",
                        SENSOR,
                        # "enum" goes with options, and with neither unit nor state class.
                        dependentRequired={"options": ["device_class"]},
                        **{
                            "if": {"required": ["options"]},
                            "then": {
                                "properties": {
                                    "device_class": {"const": "enum"},
                                    "state_class": False,
                                    "unit_of_measurement": False,
                                }
                            },
                            "else": {"properties": {"device_class": {"not": {"const": "enum"}}}},
                        },
                    ),
                    _component("binary_sensor", BINARY_SENSOR),
                    _component("switch", SWITCH, "command_topic"),
                ],
            },
        },
    },
    "additionalProperties": False,
}
TOPIC = r"[^+#\0/][^+#\0]*/device/(?:[a-zA-Z0-9_-]+/)?[a-zA-Z0-9_-]+/config"


def check(payload: bytes) -> dict[str, Any]:
    """Return a discovery payload that keeps to the format.

    Raises:
        jsonschema.ValidationError: it does not.
    """
    document: dict[str, Any] = json.loads(payload)
    Draft202012Validator.check_schema(SCHEMA)
    Draft202012Validator(SCHEMA).validate(document)
    return document


def render(template: str, payload: bytes) -> str:
    """Render a value template as Home Assistant does, with `value_json`."""
    environment = SandboxedEnvironment(undefined=StrictUndefined)
    environment.filters["tojson"] = json.dumps
    return environment.from_string(template).render(value_json=json.loads(payload)).strip()
