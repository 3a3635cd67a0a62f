"""Which way a camera is opened: by the form of its source, and by `options.decoder`.

`libav` (the default) decodes files and streams in software; `opencv` does so too, and reads USB cameras; `gstreamer` decodes with
what hardware there is; `gstreamer-software` and the name of a GStreamer decoder are for those who want just that.
"""

from __future__ import annotations

from runtime.camera.opencv import open_with_opencv
from runtime.camera.pictures import SNAPSHOT, FolderSource, SnapshotSource, SyntheticSource
from runtime.camera.source import Source, file_path, kind_of
from wire.local import CameraSource
from wire.source import Kind

IN_SOFTWARE = ("libav", "opencv")
BY_GSTREAMER = {"gstreamer": "auto", "gstreamer-software": "software"}


def open_camera(camera: CameraSource) -> Source:
    """Open a camera.

    :raises SourceRefused: the source cannot ever work
    :raises Transient: it cannot be opened now
    """
    text = camera.source.strip()
    if text.startswith("synthetic://"):
        return SyntheticSource(camera)
    if text.startswith(SNAPSHOT):
        return SnapshotSource(camera)
    if kind_of(camera) is Kind.FILE and file_path(camera).is_dir():
        return FolderSource(camera)
    decoder = str(camera.options.get("decoder", ""))
    if text.startswith("csi://") or decoder not in ("", *IN_SOFTWARE):
        from runtime.camera.gstreamer import open_with_gstreamer

        return open_with_gstreamer(camera, BY_GSTREAMER.get(decoder, decoder or "auto"))
    if decoder == "opencv" or kind_of(camera) is Kind.DEVICE:
        return open_with_opencv(camera)
    from runtime.camera.libav import open_with_libav

    return open_with_libav(camera)
