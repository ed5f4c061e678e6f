"""The rules: executable checks of the contract's clauses. Each module is a theme.

If you add a rule, follow docs/adding-a-rule.md.
"""
