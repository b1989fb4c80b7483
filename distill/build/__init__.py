"""A configuration becomes the objects of a run. The only room that knows every part by name."""

from distill.build.data import (
    TEST_SCENES,
    Data,
    build_data,
    choose_protocol,
    contents_of,
    open_dataset,
    own_protocols,
)
from distill.build.models import (
    SHIPPED,
    advise_networks,
    build_method,
    build_student,
    build_teacher,
    check_models,
    open_model,
)

__all__ = [
    "SHIPPED",
    "TEST_SCENES",
    "Data",
    "advise_networks",
    "build_data",
    "build_method",
    "build_student",
    "build_teacher",
    "check_models",
    "choose_protocol",
    "contents_of",
    "open_dataset",
    "open_model",
    "own_protocols",
]
