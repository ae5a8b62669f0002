"""The commands of developers: `python -m scripts.train`, `features`, `evaluate`, `bench`, `soak`, `export` and others."""
