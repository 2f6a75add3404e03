"""How fast the framework is, as ratios to the least work that the same result needs."""
