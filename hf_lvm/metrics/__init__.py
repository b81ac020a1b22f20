"""Plain functions over arrays and strings, each with a thin `evaluate` module."""
