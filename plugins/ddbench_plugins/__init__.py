"""First-party plugins, found by the same entry points as anybody's."""
