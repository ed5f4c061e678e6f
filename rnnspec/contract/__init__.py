"""What the documentation promises, as data: kinds, configurations, shapes and clauses. Imports neither torch nor Hypothesis."""
