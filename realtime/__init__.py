"""AGFN Live: streaming real-time sentiment from face, voice and words."""
