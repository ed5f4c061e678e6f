"""From broken rules to what is behind them: which follow from which, and what a failure depends on."""
