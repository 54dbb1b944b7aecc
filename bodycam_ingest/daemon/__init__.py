"""The daemon: builds the parts, runs and watches them, answers commands."""
