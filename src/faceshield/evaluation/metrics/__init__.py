"""The metrics themselves: numbers in, numbers out; no files, no models."""
