"""The embedded model server: assembly of its parts.

Enters: flags. Leaves: a process with TensorFlow Serving's API.
"""
