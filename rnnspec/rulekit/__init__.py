"""The parts of rules: conditions, assertions, fixtures, statistics, rejections and snippets.

Look here before you write a helper for a rule: `assertions.relations` compares results and calls,
and `fixtures` prepares layers that the case does not have.
"""
