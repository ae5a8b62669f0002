"""Streams on many hosts: where each runs, what survives of it when a host dies, and who may speak for it."""
