"""Tests of old journals and letters under newer code, and of two versions side by side."""
