"""The verdicts of one run with everything needed to run it again, and the forms in which it is told."""
