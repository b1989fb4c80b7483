"""The configuration of a run: `schema` declares every key, `loading` reads files and overrides."""

from distill.config.loading import (
    apply_override,
    dump_config,
    load_config,
    parse_config,
    parse_section,
    read_yaml,
    set_value,
)
from distill.config.schema import MIN_SIDE, Config, DataConfig, OptimConfig, Section, TrainConfig

__all__ = [
    "MIN_SIDE",
    "Config",
    "DataConfig",
    "OptimConfig",
    "Section",
    "TrainConfig",
    "apply_override",
    "dump_config",
    "load_config",
    "parse_config",
    "parse_section",
    "read_yaml",
    "set_value",
]
