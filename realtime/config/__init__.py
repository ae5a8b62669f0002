"""The configuration: its keys (schema), how they come together (load), and YAML that may be wrong (strictyaml)."""

from realtime.config.schema import *  # noqa: F403
