"""One page a run: what came out, what it was made from, what it looks like.

Enters: what the steps of a run wrote. Leaves: report.html, report.md,
model_card.md and data_sheet.md in the run's directory. May import all but
`bench`.
"""
