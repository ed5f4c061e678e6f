"""Test cases: axes, covering arrays over them, sizes, and the numbers that layers compute with."""
