"""Proves the promises on what workers have left behind: topics and, where there is one, a ledger of calls.

Pure: plain data in, violations out. It knows the contracts, and nothing of how the worker keeps them.
"""
