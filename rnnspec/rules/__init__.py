"""The rules: executable checks of the contract's clauses, one module a theme, one function a rule."""
