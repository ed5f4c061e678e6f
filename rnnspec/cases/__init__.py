"""The situations that a subject is put in: axes, covering rows, sizes and identifying values."""
