"""The speed of the framework, as ratios to the least work that the same result needs."""
