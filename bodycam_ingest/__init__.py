"""Takes recordings off docked body cameras and proves every step."""

__version__ = "0.1.0"
