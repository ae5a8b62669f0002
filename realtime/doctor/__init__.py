"""The doctor: what this machine has of all that the program needs, and what to do about the rest."""
