"""Campaigns: cases through rules, results that merge, and counterexamples made small."""
