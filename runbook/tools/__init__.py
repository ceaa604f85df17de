"""The outside world, one module each: commands are built by pure functions and run by one."""
