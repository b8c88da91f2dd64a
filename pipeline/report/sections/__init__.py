"""What a report says: a function a section, from a run to its blocks."""
