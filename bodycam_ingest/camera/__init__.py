"""What is plugged in and what lies on it: sources, identity, listing, opening a file."""
