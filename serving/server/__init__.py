"""The embedded model server: assembly of its parts.

Enters: flags. Leaves: a process with TensorFlow Serving's API. `__main__`,
`flags`, `process`, `health` and `servicer` may import every folder below.
"""
