"""What swaps and lost replicas cost callers.

May import `client` and `releases`.
"""
