"""Features of the main face in each picture."""
