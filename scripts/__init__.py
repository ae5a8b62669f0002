"""Commands of the developers: `python -m scripts.train`, `features`, `evaluate`, `bench`, `soak` and others."""
