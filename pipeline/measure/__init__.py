"""What is asked of a recommender and how well it was answered.

Enters: prepared tables, lists of items. Leaves: queries and metrics. May import
`tables`.
"""
