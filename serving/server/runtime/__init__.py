"""Runs SavedModels through TensorFlow's C API."""
