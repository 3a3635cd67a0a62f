"""A real RTSP server (GStreamer's) whose cameras change what they show on command. Run by the system's Python, which has `gi`:

    /usr/bin/python3 rtsp_programs.py HOST PORT FPS USER:PASSWORD|- NAME=FILE.mp4 …

Each FILE is a programme, H.264. A line `MOUNT NAME` on standard input has rtsp://HOST:PORT/MOUNT show that programme from its
next picture on; `password WORD` changes the password. The first programme is what a camera shows at the start.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

CAPS = "video/x-h264,stream-format=byte-stream,alignment=au"
MOUNTS = ("a", "b", "c", "d")


def units(path):
    """The access units of a file, each beginning anew at key frames."""
    pipeline = Gst.parse_launch(
        f'filesrc location="{path}" ! qtdemux ! h264parse config-interval=-1 ! {CAPS} ! appsink name=sink sync=false'
    )
    sink = pipeline.get_by_name("sink")
    pipeline.set_state(Gst.State.PLAYING)
    found = []
    while (sample := sink.emit("pull-sample")) is not None:
        buffer = sample.get_buffer()
        found.append(buffer.extract_dup(0, buffer.get_size()))
    pipeline.set_state(Gst.State.NULL)
    return found


class Camera:
    def __init__(self, programmes, fps, first):
        self.programmes, self.fps = programmes, fps
        self.show(first)

    def show(self, name):
        self.units, self.next = self.programmes[name], 0

    def configured(self, _factory, media):
        source = media.get_element().get_by_name_recurse_up("source")
        source.set_property("caps", Gst.Caps.from_string(CAPS))
        state = {"n": 0}

        def push():
            buffer = Gst.Buffer.new_wrapped(self.units[self.next % len(self.units)])
            self.next += 1
            buffer.pts = state["n"] * Gst.SECOND // self.fps
            buffer.duration = Gst.SECOND // self.fps
            state["n"] += 1
            return source.emit("push-buffer", buffer) == Gst.FlowReturn.OK

        # A key frame first, whatever was shown before.
        self.next = 0
        GLib.timeout_add(1000 // self.fps, push)


def main():
    Gst.init(None)
    host, port, fps, credentials, *files = sys.argv[1:]
    programmes = {name: units(path) for name, path in (each.split("=", 1) for each in files)}
    server = GstRtspServer.RTSPServer()
    server.set_address(host)
    server.set_service(port)
    cameras = {}
    auth = None
    if credentials != "-":
        user, word = credentials.split(":")
        auth = GstRtspServer.RTSPAuth()
        set_password(auth, user, word)
        server.set_auth(auth)
    for mount in MOUNTS:
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_shared(True)
        factory.set_launch(
            "( appsrc name=source is-live=true format=time ! h264parse ! rtph264pay name=pay0 pt=96 config-interval=-1 )"
        )
        if auth is not None:
            factory.add_role_from_structure(role())
        camera = cameras[mount] = Camera(programmes, int(fps), next(iter(programmes)))
        factory.connect("media-configure", camera.configured)
        server.get_mount_points().add_factory(f"/{mount}", factory)
    if not server.attach(None):
        sys.exit(f"port {port} cannot be had")

    def obey(stream, _condition):
        words = stream.readline().split()
        if not words:
            return False
        if words[0] == "password":
            set_password(auth, user, words[1])
        else:
            cameras[words[0]].show(words[1])
        print("done", flush=True)
        return True

    GLib.io_add_watch(sys.stdin, GLib.IO_IN | GLib.IO_HUP, obey)
    print(f"rtsp://{host}:{port}/", flush=True)
    GLib.MainLoop().run()


def role():
    structure = Gst.Structure.new_empty("user")
    for right in ("media.factory.access", "media.factory.construct"):
        structure.set_value(right, True)
    return structure


def set_password(auth, user, word):
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "user")
    auth.remove_basic(GstRtspServer.RTSPAuth.make_basic(user, getattr(auth, "word", "")))
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, word), token)


main()
