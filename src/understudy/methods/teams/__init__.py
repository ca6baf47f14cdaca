"""Several teachers for one student."""
