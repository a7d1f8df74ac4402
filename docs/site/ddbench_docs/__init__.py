"""Builds the documentation site: the checkout's own pages, and those that are generated from the code."""
