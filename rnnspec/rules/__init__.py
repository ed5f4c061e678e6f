"""The rules: executable checks of the contract's clauses. Each module is a theme."""
