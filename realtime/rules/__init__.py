"""Rules: a webhook or a command when a stream has been like that for a while."""
