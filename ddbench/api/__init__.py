"""What plugin authors write against; every name here is importable from `ddbench`."""
