"""How a device is called in messages, logs and errors."""

from realtime.address import is_url, public_address

__all__ = ["is_url", "public_address"]
