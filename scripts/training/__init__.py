"""Corpora, damage and training of the text adapter and AGFN."""
