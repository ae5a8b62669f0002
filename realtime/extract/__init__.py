"""Features of face, voice, speech and words."""
