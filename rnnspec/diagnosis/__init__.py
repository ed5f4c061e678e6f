"""Diagnosis of broken rules: which one is the cause, and what its failure depends on."""
