"""The parts of rules: conditions, assertions, fixtures, statistics, rejections and snippets."""
