"""Whole jobs, from options to files: a training, an audit, a comparison. `api` calls them."""
