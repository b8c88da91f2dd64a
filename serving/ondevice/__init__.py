"""Runs an on-device bundle in Python, and in a browser."""
