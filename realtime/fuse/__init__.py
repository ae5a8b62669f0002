"""Windows, reliability and the AGFN worker."""
