"""The student leaves home: what it costs to run."""
