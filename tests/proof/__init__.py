"""What proves which promise: `docs/proof.md` is drawn from the tests themselves."""
