"""The configuration of a run: `schema` declares every key, `loading` reads files and overrides."""

from distill.config.loading import apply_override, dump_config, load_config, parse_config
from distill.config.schema import MIN_SIDE, Config, DataConfig, OptimConfig

__all__ = [
    "MIN_SIDE",
    "Config",
    "DataConfig",
    "OptimConfig",
    "apply_override",
    "dump_config",
    "load_config",
    "parse_config",
]
