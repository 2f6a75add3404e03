"""Processes that are killed, and processes that start together: what is lost, made twice or left behind."""
