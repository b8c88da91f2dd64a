"""One message to one of several replicas, in time: reach, choose, try again.

Enters: a model's message and a deadline. Leaves: its answer, or an error that
says what to do. May import `wire` and the root.
"""
