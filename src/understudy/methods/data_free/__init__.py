"""Methods that see no data: a generator makes what the student is shown."""
