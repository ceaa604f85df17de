"""The sample stack's worker: counts in Redis."""

import time

import redis

client = redis.Redis("redis")
while True:
    client.incr("rounds")
    time.sleep(0.5)
