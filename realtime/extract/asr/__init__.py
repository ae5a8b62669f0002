"""Incremental speech recognition: words while the person speaks, committed once and for all."""
