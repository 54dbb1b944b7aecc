"""One camera from attach to detach: what is on it, what is new, what is recorded of it."""
