"""The live web dashboard: a static page, and the loopback server that gives it out and leads it to the broker."""
