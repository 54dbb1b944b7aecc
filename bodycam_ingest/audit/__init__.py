"""Is what the dock claims true: ledger, states, staged files and stores, read-only."""
