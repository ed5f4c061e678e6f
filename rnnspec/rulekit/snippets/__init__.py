"""The last lines of reproduction programs.

Choose lines that fail for the fault that your rule finds, and pass for torch's own layer.
"""
