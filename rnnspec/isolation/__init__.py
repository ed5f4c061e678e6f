"""Run a check in worker processes, so that it survives whatever the subject does to its process."""
