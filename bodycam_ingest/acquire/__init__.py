"""Copies recordings off a camera into staging and proves the copies by reading them back."""
