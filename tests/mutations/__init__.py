"""The promises broken on purpose, one way at a time, and the tests that notice."""
