"""Suites: hundreds of cells from one file, made by an executor; nothing is lost when one stops."""
