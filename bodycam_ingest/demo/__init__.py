"""Simulated cameras for `bodycam-ingest demo` and the tests: real trees with playable clips."""
