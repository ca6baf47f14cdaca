"""A network that learns from one of its own kind."""
