"""The configuration of a run: `schema` declares every key, `loading` reads files and overrides."""

from distill.config.data_schema import DataConfig, SourceConfig
from distill.config.fields import Section
from distill.config.loading import (
    Content,
    apply_overrides,
    dump_config,
    find_config,
    load_config,
    parse_config,
    parse_section,
    read_yaml,
    run_of,
    set_values,
)
from distill.config.schema import Config, OptimConfig, StudentConfig, TrainConfig

__all__ = [
    "Config",
    "Content",
    "DataConfig",
    "OptimConfig",
    "Section",
    "SourceConfig",
    "StudentConfig",
    "TrainConfig",
    "apply_overrides",
    "dump_config",
    "find_config",
    "load_config",
    "parse_config",
    "parse_section",
    "read_yaml",
    "run_of",
    "set_values",
]
