"""Diagnosis of failed rules: which fault causes them, and which choices and sizes it needs."""
