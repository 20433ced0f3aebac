"""The compiled twin against the pure one, on layouts written by hand."""
