"""Messages and the ways they leave the process."""
