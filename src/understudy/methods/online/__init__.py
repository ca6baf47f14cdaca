"""Two networks that teach each other while both learn."""
