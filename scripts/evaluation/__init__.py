"""Evaluations, one per subcommand of `python -m scripts.evaluate`."""
