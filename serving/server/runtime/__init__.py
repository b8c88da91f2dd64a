"""Runs a SavedModel in TensorFlow's runtime, through its C API.

Enters: a version directory, NumPy arrays. Leaves: NumPy arrays. May import
`serving` itself and `wire`.
"""
