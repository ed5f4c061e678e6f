"""What rules are made of: conditions, assertions, fixtures, statistics, rejections and snippets."""
