"""What is released: version directories, the pointer, who follows it.

May import `wire`, `client` and the root.
"""
