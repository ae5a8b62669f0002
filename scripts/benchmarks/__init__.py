"""Benchmarks, one per subcommand of `python -m scripts.bench`."""
