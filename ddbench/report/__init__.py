"""Views over records: statistics, tables, formats. It reads records and their sidecars only, and imports no torch."""
