"""The service as real processes, under every fault that it has to survive, and an account of every event at the end.

`python -m tests.chaos --minutes 30` is the long run; `test_chaos_short.py` a short one of a fixed seed.
"""
