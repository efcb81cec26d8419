"""Tests of the saga's rules."""
