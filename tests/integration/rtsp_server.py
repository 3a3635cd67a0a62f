"""A real RTSP server (GStreamer's) that plays a file again and again. Run by the system's Python, which has `gi`:

    /usr/bin/python3 rtsp_server.py FILE.mp4 PORT [h264|h265|mjpeg]

Listens on 127.0.0.1 only; prints a line once it serves rtsp://127.0.0.1:PORT/camera.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

PAYLOAD = {
    "h264": "qtdemux ! h264parse ! rtph264pay name=pay0 pt=96 config-interval=1",
    "h265": "qtdemux ! h265parse ! rtph265pay name=pay0 pt=96 config-interval=1",
    "mjpeg": "avidemux ! jpegparse ! rtpjpegpay name=pay0 pt=26",
}

Gst.init(None)
path, port = sys.argv[1], sys.argv[2]
payload = PAYLOAD[sys.argv[3] if len(sys.argv) > 3 else "h264"]
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(port)
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(f'( filesrc location="{path}" ! {payload} )')
server.get_mount_points().add_factory("/camera", factory)
if not server.attach(None):
    sys.exit(f"port {port} cannot be had")
print(f"rtsp://127.0.0.1:{port}/camera", flush=True)
GLib.MainLoop().run()
