"""Distilled sets and records from elsewhere and for elsewhere: brought, exported, submitted, checked."""
