"""The report of a run: as data, as text, and as programs that reproduce the faults found."""
