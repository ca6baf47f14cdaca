"""Methods that learn how much each example counts."""
