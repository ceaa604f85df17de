"""Where the journal is kept: one module per store, all alike to whoever appends and reads."""
