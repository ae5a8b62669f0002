"""Real parts for tests: what stands in for a camera, a microphone and a broker is real up to the driver's edge."""
