"""The benchmark: one protocol for every method of a bundle."""
