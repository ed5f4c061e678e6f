"""Adapters for layers of other libraries; each module needs the extra of the same name."""
