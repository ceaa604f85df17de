"""Who performs the machine's actions: the loop, one attempt, the local runtime, the lock."""
