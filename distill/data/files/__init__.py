"""Files that hold images and depth: reading them, finding them, pairing them by name or by a list."""
