"""The declarations in a project's file: targets with their options, and known deviations."""
