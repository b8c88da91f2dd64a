"""What swaps, lost replicas and logs cost callers, and what a question takes.

May import `client` and `releases`.
"""
