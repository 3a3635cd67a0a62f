"""Sinks whose messages the agent keeps until they have arrived: MQTT, events for the control plane."""

from __future__ import annotations

import base64
import json
from typing import Any, ClassVar

from runtime.results import Image
from runtime.sinks.lane import Cooldown
from runtime.sinks.pictures import jpeg
from runtime.sinks.sender import Undelivered
from runtime.workflow.block import Block, Surroundings
from runtime.workflow.fields import (
    ANY,
    BOOLEAN,
    FLOAT,
    IMAGE,
    INTEGER,
    STRING,
    Anything,
    Choice,
    Field,
    Flag,
    Number,
    Text,
    dictionary,
    kinds,
    need,
    option,
)
from runtime.workflow.serialise import to_json
from runtime.workflow.sinkblock import (
    COOLING,
    DISABLE_SINK,
    DISABLED,
    STATUS,
    THROTTLED_STATUS,
    cooldown,
    secret,
)
from runtime.workflow.values import ImageValue
from wire.secret import Secret

NO_CLIPS = "this process keeps no clips"
NO_AGENT = "there is no agent here that would keep it: run the workflow on a device"
KEPT = "Handed to the agent, which keeps it until it has arrived"
MAX_PAYLOAD_CHARS = 196608
MAX_JPEG_BYTES = 131072
"""An event travels as one message of at most 256 KiB, and base64 makes three bytes four characters."""
Told = tuple[bool, str]


class Message(Block):
    """Goes to the agent's outbox over the local link."""

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self._cooldown = Cooldown()

    def publish(self, **publication: Any) -> Told:
        uplink = self.around.desk.uplink
        if uplink is None:
            return True, NO_AGENT
        why = uplink.publish(publication)
        return bool(why), why or KEPT

    def kept_back(self, *values: Any) -> str:
        pictures = self.around.desk.pictures
        return next((why for v in values if (why := pictures.kept_back(v, "fleet"))), "")


def payload(message: Any) -> str:
    """A message as it is sent: texts as they are, anything else as JSON."""
    return message if isinstance(message, str) else json.dumps(to_json(message))


class MqttWriter(Message):
    """To a broker of your own: the agent connects to it, keeps the messages and repeats them until they are acknowledged (QoS 1,
    whatever `qos` says)."""

    types = ("roboflow_enterprise/mqtt_writer_sink@v1", "mqtt_writer_sink@v1")
    title = "MQTT writer"
    outputs = STATUS
    fields: ClassVar[tuple[Field, ...]] = (
        need("host", Text(256), STRING),
        need("port", Number(1, 65535, integer=True), INTEGER),
        need("topic", Text(1024), STRING),
        Field("message", kinds(ANY), Text(MAX_PAYLOAD_CHARS)),
        option("qos", Number(0, 2, integer=True), 0, INTEGER),
        option("retain", Flag(), False, BOOLEAN),
        option("timeout", Number(above=0, high=3600), 0.5, FLOAT),
        Field("username", kinds(STRING), Text(256), required=False),
        secret("password"),
        option("fail_fast", Flag(), False, BOOLEAN),
        option("encryption", Anything(), None, STRING, BOOLEAN),
        Field("ca_certificate_path", kinds(STRING), Text(1024), required=False),
    )

    def run(
        self,
        host: str,
        port: int,
        topic: str,
        message: Any,
        retain: bool,
        username: str | None,
        password: Secret | str | None,
        encryption: Any,
        ca_certificate_path: str | None,
        **_others: Any,
    ) -> Told:
        text = payload(message)
        if why := self.kept_back(message) or _problem(topic, text):
            return True, why
        try:
            broker = {
                "host": host,
                "port": int(port),
                "username": username or "",
                "password": self.around.desk.vault.open(password),
                "tls": str(encryption).lower() not in ("none", "false", "", "no encryption", "disabled"),
                "ca_file": ca_certificate_path or "",
            }
        except Undelivered as e:
            return True, str(e)
        return self.publish(topic=topic, payload=text, retain=retain, broker=broker)


class MqttWriterV2(MqttWriter):
    types = ("roboflow_enterprise/mqtt_writer_sink@v2", "mqtt_writer_sink@v2")
    fields = (*MqttWriter.fields, option("fire_and_forget", Flag(), False, BOOLEAN))


def _problem(topic: str, text: str) -> str:
    """MQTT 5.0, 4.7: what a topic that is published to may look like."""
    if not topic or any(c in topic for c in "+#\0") or topic.startswith("$"):
        return f"{topic!r} is no topic to publish to: no +, no #, no $ at its beginning"
    if len(text) > MAX_PAYLOAD_CHARS:
        return f"a message of {len(text)} characters; at most {MAX_PAYLOAD_CHARS} travel"
    return ""


class MqttPublish(Message):
    """To the fleet's own broker, below the device's topics: `outrider/1/<fleet>/<device>/data/<topic>`."""

    types = ("outrider/mqtt_publish@v1",)
    title = "MQTT publish"
    outputs = THROTTLED_STATUS
    fields = (
        need("topic", Text(512), STRING),
        dictionary("data"),
        option("retain", Flag(), False, BOOLEAN),
        DISABLE_SINK,
        cooldown(0),
    )

    def run(
        self, topic: str, data: dict[str, Any], retain: bool, disable_sink: bool, cooldown_seconds: float
    ) -> tuple[bool, bool, str]:
        if disable_sink:
            return False, False, DISABLED
        text = payload(data)
        if why := self.kept_back(data) or _problem(topic, text):
            return True, False, why
        if not self._cooldown.passes(self.around.clock_mono(), cooldown_seconds):
            return False, True, COOLING
        error, message = self.publish(topic=topic, payload=text, retain=retain, broker=None)
        return error, False, message


class EventSink(Message):
    """An event for the control plane, with named values and, where the camera's policy lets pictures reach the fleet, a picture.

    `clip_before`, `clip_after`: seconds of the camera's kept clip that belong to it, at most as many as the camera keeps.
    """

    types = ("outrider/event_sink@v1",)
    title = "Event"
    outputs = THROTTLED_STATUS
    fields = (
        dictionary("data"),
        Field("image", kinds(IMAGE), required=False),
        option("max_width", Number(16, 1280, integer=True), 640, INTEGER),
        option("severity", Choice(("info", "warning", "alarm")), "info", STRING),
        option("clip_before", Number(0, 120), 0, INTEGER, FLOAT),
        option("clip_after", Number(0, 120), 0, INTEGER, FLOAT),
        DISABLE_SINK,
        cooldown(),
    )

    def run(
        self,
        data: dict[str, Any],
        image: ImageValue | None,
        max_width: int,
        severity: str,
        clip_before: float,
        clip_after: float,
        disable_sink: bool,
        cooldown_seconds: float,
    ) -> tuple[bool, bool, str]:
        if disable_sink:
            return False, False, DISABLED
        desk = self.around.desk
        if desk.uplink is None:
            return True, False, NO_AGENT
        if why := self.kept_back(data):
            return True, False, why
        if not self._cooldown.passes(self.around.clock_mono(), cooldown_seconds):
            return False, True, COOLING
        withheld = desk.pictures.kept_back(image, "fleet") if image is not None else ""
        picture = (
            self._picture(desk.pictures.leaving(image).shown(), max_width)
            if image is not None and not withheld
            else None
        )
        clip, no_clip = "", ""
        if clip_before or clip_after:
            clip, no_clip = desk.clips.order(clip_before, clip_after) if desk.clips else ("", NO_CLIPS)
        outputs = {**to_json(data), "severity": severity}
        why = desk.uplink.event(self.around.step, outputs, picture, clip)
        absent = {"its picture": withheld, "its clip": no_clip}
        without = "".join(f", without {what}: {reason}" for what, reason in absent.items() if reason)
        return bool(why), False, why or KEPT + without

    def _picture(self, image: Image, max_width: int) -> dict[str, Any]:
        """The picture as JPEG in base64, made smaller until it fits."""
        import cv2

        width_px = min(max_width, image.shape[1])
        while True:
            height_px = max(1, round(image.shape[0] * width_px / image.shape[1]))
            small = cv2.resize(image, (width_px, height_px), interpolation=cv2.INTER_AREA)
            content = jpeg(small)
            if len(content) <= MAX_JPEG_BYTES or width_px <= 64:
                text = base64.b64encode(content).decode()
                return {
                    "media_type": "image/jpeg",
                    "width": width_px,
                    "height": height_px,
                    "base64": text,
                }
            width_px = width_px * 3 // 4


BLOCKS = (MqttWriter, MqttWriterV2, MqttPublish, EventSink)
