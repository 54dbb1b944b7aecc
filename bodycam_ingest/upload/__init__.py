"""Sends what is due to the stores, has it confirmed, and puts checkpoints off the dock."""
