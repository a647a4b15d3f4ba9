"""Results that take hours: what keeps them whole, apart and resumable whatever ends a run."""
