"""Threads, channels and runners: how stages and devices are run, watched and restarted."""
