"""The gate, the release of a version and the way back.

Enters: an evaluated bundle. Leaves: versions and the pointer that servers poll.
May import `evaluate`, `export` and `run`.
"""
