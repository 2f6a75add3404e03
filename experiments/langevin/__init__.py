"""Perturbed-sign Langevin unlearning: which of the published claims hold."""
