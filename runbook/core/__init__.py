"""The pure core: plans, events, and the machine that decides. No clock, no I/O."""
