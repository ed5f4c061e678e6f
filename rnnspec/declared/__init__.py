"""The declarations in your project's file: targets with their options, and known deviations."""
