"""One run through the life of a pool on a real cluster, recorded into docs/explanation/life-of-a-pool.md.

`make life` runs it: asleep, woken by a held call, loaded, scaled, calm, asleep. What it records is what kubectl's
watches and the calls' ends said. `run` does, `watching` looks, the others are pure.
"""
