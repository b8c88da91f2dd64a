"""What people read while and after a run.

Enters: results. Leaves: text. May import all but `bench`.
"""
