"""A session as one page to read: `python -m realtime.report DIR -o report.html`."""
