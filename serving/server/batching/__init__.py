"""Joins requests of one shape into one run."""
