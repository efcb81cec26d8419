"""The unbinding worker."""
