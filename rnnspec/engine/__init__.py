"""The engine: run campaigns, merge their results, and minimise failing cases."""
