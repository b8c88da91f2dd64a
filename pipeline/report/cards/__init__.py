"""The model card and the data sheet of a run, as far as a run can know them."""
