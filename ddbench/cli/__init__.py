"""The command line: a thin layer over the runner, the reports and the store. Heavy imports stay inside the commands."""
