"""The checks of a machine and a dock: is it fit to run, and what to do where it is not."""
