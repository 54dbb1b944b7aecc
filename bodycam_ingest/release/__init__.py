"""May the camera's copy go, and may the dock's own: decided from facts, then recorded."""
