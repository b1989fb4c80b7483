"""Many runs that differ in a few keys, and one table of them."""

from distill.ablation.command import ablate, list_commands, show_plan

__all__ = ["ablate", "list_commands", "show_plan"]
