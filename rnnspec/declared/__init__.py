"""What a project declares in a file: its targets with their options, and known deviations."""
