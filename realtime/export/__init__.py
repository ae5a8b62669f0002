"""Recordings as tables, annotations and films for research tools."""
