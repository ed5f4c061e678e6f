"""What rules are made of: when they apply, how results are compared, what is built, drawn or spoilt to see a fault, and its proof."""
