"""Judgements of a method over many models: attacks and distances between unlearned and retrained populations."""
