"""Figures from records and their sidecars: what is drawn is computed apart from drawing, and equal records give equal files."""
