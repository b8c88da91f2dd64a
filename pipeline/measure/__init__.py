"""What is asked of a recommender and how well it was answered.

Enters: prepared tables, lists of items. Leaves: queries, metrics and times.
May import `tables`.
"""
