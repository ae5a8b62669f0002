"""Parts of scripts.fleet: recordings played as many streams, who hears them, what breaks, what came of it."""
