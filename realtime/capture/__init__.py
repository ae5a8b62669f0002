"""Devices and files that produce frames and sound."""
