"""How a run is carried out: the loop, its checkpoints, its records. It knows no method by name."""
