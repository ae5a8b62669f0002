"""Prosody of the voice in blocks."""
