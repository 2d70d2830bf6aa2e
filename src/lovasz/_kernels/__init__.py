"""Count, weigh and apply: the operators, and a kernel for each kind of device."""
