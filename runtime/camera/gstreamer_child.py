"""Decodes one source with the system's GStreamer and writes the frames into shared slots. Run by the system's Python:

    /usr/bin/python3 -I gstreamer_child.py SOCKET_FD MEMORY_FD

Stands alone: it imports nothing of this project, because the system's Python has none of it. The first line on the socket is the
job (JSON: uri, transport, decoder, live, latency_ms, slots, slot_bytes); each line that follows from there is the number of a slot
that is free again. It answers lines of JSON: `caps` (size, rate, decoder), `frame` (slot, size, stride, pts_s, ntp_wall_s),
`error`, `end`. No address is ever on the command line.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import signal
import socket
import sys
import threading
from typing import Any

import gi

gi.require_version("Gst", "1.0")
from gi.repository import Gst  # noqa: E402

NTP_EPOCH_S = 2208988800
"""From 1900 to 1970 (RFC 5905)."""
PREFERRED = (
    "nvv4l2decoder",
    "vah264dec",
    "vah265dec",
    "vaapih264dec",
    "vaapih265dec",
    "v4l2h264dec",
    "v4l2h265dec",
)


class Child:
    def __init__(self, line: socket.socket, memory_fd: int) -> None:
        self.line = line
        self.reader = line.makefile("r")
        self.job: dict[str, Any] = json.loads(self.reader.readline())
        slots = self.job["slots"]
        self.memory = mmap.mmap(memory_fd, slots * self.job["slot_bytes"])
        self.free: list[int] = list(range(slots))
        self.changed = threading.Condition()
        self.size: tuple[int, int] | None = None
        self.decoder, self.hardware = "", False
        self.dropped = 0

    def tell(self, **message: Any) -> None:
        try:
            self.line.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            os._exit(0)

    def run(self) -> None:
        self.rank_decoders()
        pipeline = self.build()
        threading.Thread(target=self.hear, daemon=True).start()
        pipeline.set_state(Gst.State.PLAYING)
        bus = pipeline.get_bus()
        message = bus.timed_pop_filtered(Gst.CLOCK_TIME_NONE, Gst.MessageType.ERROR | Gst.MessageType.EOS)
        if message.type == Gst.MessageType.EOS:
            self.tell(kind="end")
        else:
            error, _detail = message.parse_error()
            self.tell(kind="error", domain=str(error.domain), code=int(error.code), text=error.message)
        os._exit(0)

    def rank_decoders(self) -> None:
        """Hardware first, or not at all where software is asked for."""
        wanted = self.job["decoder"]
        registry = Gst.Registry.get()
        for factory in registry.get_feature_list(Gst.ElementFactory):
            kind = factory.get_metadata("klass") or ""
            if "Decoder" not in kind or "Video" not in kind:
                continue
            if wanted == "software" and "Hardware" in kind:
                factory.set_rank(Gst.Rank.NONE)
            elif wanted == factory.get_name() or (wanted == "auto" and factory.get_name() in PREFERRED):
                factory.set_rank(Gst.Rank.PRIMARY + 100)

    def build(self) -> Gst.Pipeline:
        uri = self.job["uri"]
        jetson = Gst.ElementFactory.find("nvvidconv") is not None
        pipeline = Gst.parse_launch(self.job["launch_on_jetson" if jetson else "launch"])
        source = pipeline.get_by_name("source")
        if uri.startswith("csi://"):
            self.decoder, self.hardware = "nvarguscamerasrc", True
        elif uri.startswith("/dev/video"):
            source.set_property("device", uri)
        else:
            source.set_property("uri", uri)
            source.connect("source-setup", self.set_up_source)
        pipeline.connect("deep-element-added", self.element_added)
        sink = pipeline.get_by_name("sink")
        sink.set_property("drop", bool(self.job["live"]))
        sink.connect("new-sample", self.sample)
        return pipeline

    def set_up_source(self, _bin: Gst.Element, source: Gst.Element) -> None:
        if source.get_factory().get_name() != "rtspsrc":
            return
        source.set_property("latency", self.job["latency_ms"])
        source.set_property("protocols", 4 if self.job["transport"] == "tcp" else 1)
        source.set_property("tcp-timeout", int(self.job["open_s"] * 1e6))
        source.set_property("timeout", int(self.job["open_s"] * 1e6))
        if source.find_property("add-reference-timestamp-meta"):
            source.set_property("add-reference-timestamp-meta", True)

    def element_added(self, _bin: Gst.Bin, _sub: Gst.Bin, element: Gst.Element) -> None:
        factory = element.get_factory()
        kind = factory.get_metadata("klass") if factory else ""
        if kind and "Decoder" in kind and "Video" in kind:
            self.decoder, self.hardware = factory.get_name(), "Hardware" in kind

    def sample(self, sink: Gst.Element) -> Gst.FlowReturn:
        sample = sink.emit("pull-sample")
        buffer, shape = sample.get_buffer(), sample.get_caps().get_structure(0)
        size = (shape.get_int("width")[1], shape.get_int("height")[1])
        length = buffer.get_size()
        if size != self.size:
            self.size = size
            known, above, below = shape.get_fraction("framerate")
            fps = above / below if known and below else 0.0
            self.tell(
                kind="caps",
                width=size[0],
                height=size[1],
                fps=fps,
                decoder=self.decoder,
                hardware=self.hardware,
            )
        if length > self.job["slot_bytes"]:
            self.tell(kind="error", domain="slots", code=0, text=f"a frame of {length} bytes is too large")
            return Gst.FlowReturn.ERROR
        slot = self.take_slot()
        if slot is None:
            return Gst.FlowReturn.OK
        found, info = buffer.map(Gst.MapFlags.READ)
        if not found:
            self.give_back(slot)
            return Gst.FlowReturn.OK
        begin = slot * self.job["slot_bytes"]
        self.memory[begin : begin + length] = info.data
        buffer.unmap(info)
        pts_s = buffer.pts / Gst.SECOND if buffer.pts != Gst.CLOCK_TIME_NONE else None
        self.tell(
            kind="frame", slot=slot, width=size[0], height=size[1], stride=length // size[1], pts_s=pts_s,
            ntp_wall_s=ntp_wall_s(buffer), dropped=self.dropped,
        )  # fmt: skip
        return Gst.FlowReturn.OK

    def take_slot(self) -> int | None:
        with self.changed:
            while not self.free:
                if self.job["live"]:
                    self.dropped += 1
                    return None
                self.changed.wait()
            return self.free.pop()

    def give_back(self, slot: int) -> None:
        with self.changed:
            self.free.append(slot)
            self.changed.notify()

    def hear(self) -> None:
        for line in self.reader:
            self.give_back(int(line))
        os._exit(0)


def ntp_wall_s(buffer: Gst.Buffer) -> float | None:
    """The sender's clock at capture, where RTCP has told it."""
    meta = buffer.get_reference_timestamp_meta(Gst.Caps.from_string("timestamp/x-ntp"))
    return meta.timestamp / Gst.SECOND - NTP_EPOCH_S if meta is not None else None


def main() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
    Gst.init(None)
    Child(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])).run()


main()
