"""The demo: a made-up clip of a talking portrait."""
