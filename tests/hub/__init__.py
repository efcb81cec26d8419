"""Tests of the hub, at the wire where it matters."""
