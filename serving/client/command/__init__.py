"""What `python -m serving.client` adds: smoke test, load, tables.

May import `client` as applications do, and the root.
"""
