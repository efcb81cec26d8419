"""The APIs we call, one module each: its fields, its table, and what its success carries."""
