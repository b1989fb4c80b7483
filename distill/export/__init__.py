"""A trained model leaves home: `distill export`."""
