"""Adapters for layers of other libraries; each needs the extra of its name."""
