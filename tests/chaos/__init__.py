"""The service as real processes, under every fault that it has to survive, and an account of every event at the end.

`faults.py` has those that pass, `lasting.py` those that stay, `changes.py` what is another world afterwards;
`account.py` and `lateness.py` judge, by what `reader.py` and the sandbox have seen and `happened.py` remembers.

`python -m tests.chaos --minutes 30` is the long run; `test_chaos_short.py` a short one of a fixed seed.
"""
