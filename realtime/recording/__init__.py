"""Recordings: what a stream's windows were fed, and what was said of them, as one MCAP file a stream.

`journal` turns what a window takes into lines and back, `window` notes it in the order the window took it, `writer`
puts it on disk, `reader` gets it back, `replay` feeds it to a window and to AGFN once more.
"""
