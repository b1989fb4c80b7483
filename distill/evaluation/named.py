"""The protocols by name: what of each data set counts, as published results of it do."""

from __future__ import annotations

from distill.evaluation.protocols import Protocol, unknown


class Protocols(dict[str, Protocol]):
    """Protocols by name. Asking for one that is not there says which are."""

    def __missing__(self, name: str) -> Protocol:
        raise unknown("protocol", name, self)


_LIDAR = "improved KITTI depth maps (accumulated lidar), metres = PNG / 256, Eigen test split"
_SELECTION = (
    "improved KITTI depth maps (accumulated lidar), metres = PNG / 256, 1000 validation crops of depth_selection"
)
_KINECT = "Kinect depth as measured, with holes, metres = PNG / 1000, Eigen test split"

_MASKS, _ON = "where its masks allow", "inclusive"

ALL = (
    Protocol("kitti_eigen_garg_full", "kitti", _LIDAR, 80, crop="garg"),
    Protocol("kitti_eigen_garg_kb", "kitti", _LIDAR, 80, crop="garg", frame="kb"),
    Protocol("kitti_eigen_crop_full", "kitti", _LIDAR, 80, crop="eigen"),
    Protocol("kitti_eigen_crop_kb", "kitti", _LIDAR, 80, crop="eigen", frame="kb"),
    Protocol("kitti_selection", "kitti", _SELECTION, 80, frame="cut"),
    Protocol("nyu_eigen", "nyu", _KINECT, 10, crop="eigen"),
    Protocol("scenes_road", "scenes", "rendered, exact", 80),
    Protocol("scenes_room", "scenes", "rendered, exact", 10),
    Protocol("folder", "folder", "as given", 80),
    Protocol("ibims1", "ibims1", f"laser scans, metres = PNG x 50 / 65535, {_MASKS}", 50),
    Protocol("diode_indoor", "diode_indoor", f"laser scans, validation, {_MASKS}", 350, min_depth=0.6, limits=_ON),
    Protocol("diode_outdoor", "diode_outdoor", f"laser scans, validation, {_MASKS}", 350, min_depth=0.6, limits=_ON),
    Protocol("eth3d", "eth3d", "laser scans of the distorted pictures", 1000, min_depth=1e-5),
    Protocol("scannet", "scannet", "structured light, metres = PNG / 1000", 10),
    Protocol("sunrgbd", "sunrgbd", "four sensors, millimetres turned by three bits", 8, limits=_ON),
    Protocol("tum", "tum", "Kinect, metres = PNG / 5000, partners within 0.02 s", 10, min_depth=0.01, limits=_ON),
    Protocol("vkitti2", "vkitti2", "rendered, metres = PNG / 100, Scene01", 80, min_depth=1e-5),
    Protocol("hypersim", "hypersim", "rendered, along the optical axis", 65, min_depth=1e-5),
    Protocol("ddad", "ddad", "lidar", 120),
)
PROTOCOLS = Protocols({protocol.name: protocol for form in ALL for protocol in (form, form.affine())})
