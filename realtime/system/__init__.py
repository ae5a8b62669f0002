"""The operating system's side: memory, threads, standard error, logs, addresses; and numbers as people read them."""
