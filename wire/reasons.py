"""The one closed list of reason codes.

A code is stable for ever; its text may improve. Documentation is made from this table (`docs/reasons.md`).
"""

from __future__ import annotations

from enum import Enum


class Reason(str, Enum):
    """Why something was refused, failed or degraded. The value is what travels."""

    # messages and documents
    MALFORMED = "malformed"
    TOO_LARGE = "too-large"
    UNKNOWN_VERSION = "unknown-version"
    SIGNATURE_INVALID = "signature-invalid"
    WRONG_DEVICE = "wrong-device"
    REVISION_OLD = "revision-old"
    EXPIRED = "expired"
    UNKNOWN_REFERENCE = "unknown-reference"
    INVALID_FIELD = "invalid-field"
    UNKNOWN_COMMAND = "unknown-command"
    SUPERSEDED = "superseded"
    # artifacts
    ARTIFACT_MISSING = "artifact-missing"
    ARTIFACT_CORRUPT = "artifact-corrupt"
    ARTIFACT_UNREACHABLE = "artifact-unreachable"
    DISK_FULL = "disk-full"
    STORE_QUOTA = "store-quota"
    ENDLESS_DATA = "endless-data"
    SLOW_RETRIEVAL = "slow-retrieval"
    # metadata of the update framework
    METADATA_INVALID = "metadata-invalid"
    METADATA_ROLLBACK = "metadata-rollback"
    METADATA_EXPIRED = "metadata-expired"
    METADATA_MISMATCH = "metadata-mismatch"
    METADATA_UNREACHABLE = "metadata-unreachable"
    TARGET_UNKNOWN = "target-unknown"
    SIGNATURE_PENDING = "signature-pending"
    BUNDLE_INVALID = "bundle-invalid"
    # models
    PACKAGE_INVALID = "package-invalid"
    MODEL_NOT_ONNX = "model-not-onnx"
    MODEL_OUTPUTS = "model-outputs"
    MODEL_INPUTS = "model-inputs"
    MODEL_LABELS = "model-labels"
    MODEL_OPSET = "model-opset"
    MODEL_OPERATOR = "model-operator"
    MODEL_WEIGHTS = "model-weights"
    FAMILY_UNKNOWN = "family-unknown"
    GOLDEN_MISMATCH = "golden-mismatch"
    GOLDEN_ABSENT = "golden-absent"
    ENGINE_UNAVAILABLE = "engine-unavailable"
    ENGINE_BUILD_FAILED = "engine-build-failed"
    DRIVER_ABSENT = "driver-absent"
    DRIVER_TOO_OLD = "driver-too-old"
    GPU_FAULT = "gpu-fault"
    PRECISION_UNAVAILABLE = "precision-unavailable"
    MODEL_LOAD_FAILED = "model-load-failed"
    MODEL_NAN = "model-nan"
    OUT_OF_MEMORY = "out-of-memory"
    DATASET_INVALID = "dataset-invalid"
    EXTRA_MISSING = "extra-missing"
    BENCH_FAILED = "bench-failed"
    BENCH_RUNNING = "bench-running"
    # workflows
    WORKFLOW_INVALID = "workflow-invalid"
    BLOCK_UNKNOWN = "block-unknown"
    BLOCK_CLOUD_ONLY = "block-cloud-only"
    CODE_NOT_ALLOWED = "code-not-allowed"
    STEP_FAILED = "step-failed"
    LIBRARY_MISSING = "library-missing"
    # cameras
    CAMERA_UNREACHABLE = "camera-unreachable"
    CAMERA_LOST = "camera-lost"
    CAMERA_ENDED = "camera-ended"
    CAMERA_SOURCE_INVALID = "camera-source-invalid"
    CAMERA_PASSWORD = "camera-password"
    CAMERA_SILENT = "camera-silent"
    CAMERA_NONSENSE = "camera-nonsense"
    CAMERA_STALLED = "camera-stalled"
    CAMERA_HUNG = "camera-hung"
    CAMERA_OFF = "camera-off"
    CAMERA_DECODER = "camera-decoder"
    PICTURE_FROZEN = "picture-frozen"
    PICTURE_BLACK = "picture-black"
    PICTURE_BRIGHT = "picture-bright"
    PICTURE_COVERED = "picture-covered"
    PICTURE_BLURRED = "picture-blurred"
    PICTURE_MOVED = "picture-moved"
    PICTURE_SIZE = "picture-size"
    PICTURE_WITHHELD = "picture-withheld"
    CLIP_EMPTY = "clip-empty"
    DROPPED_BY_POLICY = "dropped-by-policy"
    THERMAL_LIMIT = "thermal-limit"
    POWER_LIMIT = "power-limit"
    CPU_LIMIT = "cpu-limit"
    # running parts
    ENGINE_DOWN = "engine-down"
    ENGINE_TIMEOUT = "engine-timeout"
    ENGINE_ERROR = "engine-error"
    ENGINE_BUSY = "engine-busy"
    PIPELINE_DOWN = "pipeline-down"
    PIPELINE_HUNG = "pipeline-hung"
    PIPELINE_FLAPPING = "pipeline-flapping"
    AGENT_DOWN = "agent-down"
    AGENT_RESTARTING = "agent-restarting"
    STARTING = "starting"
    # control plane
    NOT_AUTHENTICATED = "not-authenticated"
    NOT_ALLOWED = "not-allowed"
    NOT_FOUND = "not-found"
    TOKEN_INVALID = "token-invalid"
    ROLLOUT_STATE = "rollout-state"
    ROLLOUT_INVALID = "rollout-invalid"
    CERTIFICATE_INVALID = "certificate-invalid"
    CERTIFICATE_REVOKED = "certificate-revoked"
    AUTHORITY_MISMATCH = "authority-mismatch"
    SECRET_UNREADABLE = "secret-unreadable"
    NAME_TAKEN = "name-taken"
    NO_RESPONSE = "no-response"
    BROKER_UNAVAILABLE = "broker-unavailable"
    STORE_UNAVAILABLE = "store-unavailable"
    FLEET_UNREACHABLE = "fleet-unreachable"
    CHECK_FAILED = "check-failed"
    CONFIG_INVALID = "config-invalid"
    SELECTOR_INVALID = "selector-invalid"
    CHANGED_MEANWHILE = "changed-meanwhile"
    KEY_REUSED = "key-reused"
    STILL_RUNNING = "still-running"
    SIGN_IN_REFUSED = "sign-in-refused"
    TOO_MANY_ATTEMPTS = "too-many-attempts"
    TOO_MANY_STREAMS = "too-many-streams"
    CSRF_MISSING = "csrf-missing"
    PASSWORD_WEAK = "password-weak"
    PROVIDER_FAILED = "provider-failed"
    AUDIT_BROKEN = "audit-broken"
    IN_USE = "in-use"
    DELIVERY_FAILED = "delivery-failed"
    # updates
    PREPARE_TIMEOUT = "prepare-timeout"
    SWITCH_FAILED = "switch-failed"
    QUARANTINED = "quarantined"
    CANCELLED = "cancelled"
    WINDOW_MISSED = "window-missed"
    PROBATION_TIMEOUT = "probation-timeout"
    PROBATION_FAILED = "probation-failed"
    STARTS_WITHOUT_COMMIT = "starts-without-commit"
    CONTACT_LOST = "contact-lost"
    RELEASE_FAILED = "release-failed"
    RELEASE_INVALID = "release-invalid"
    RELEASE_UNFIT = "release-unfit"
    RELEASE_OLDER = "release-older"
    CONNECTION_UNUSABLE = "connection-unusable"
    INTERNAL = "internal"

    @property
    def text(self) -> str:
        """What it means and what to do, one or two sentences."""
        return TEXTS[self]


TEXTS: dict[Reason, str] = {
    Reason.MALFORMED: "The bytes are not a message of this protocol. Check the sender's version.",
    Reason.TOO_LARGE: "The message exceeds its limit. Artifacts travel over HTTPS, never over MQTT.",
    Reason.UNKNOWN_VERSION: "The protocol version is not spoken here. Update the older side.",
    Reason.SIGNATURE_INVALID: "No trusted key signed the document. Check the pinned keys; enrol the device again if the control plane was rebuilt.",
    Reason.WRONG_DEVICE: "The document is bound to another device. Send it to the device it names.",
    Reason.REVISION_OLD: "The revision does not grow. Publish a higher one.",
    Reason.EXPIRED: "The document's time is over. Publish it again; check the clocks.",
    Reason.UNKNOWN_REFERENCE: "A name in the document points to nothing. Define it or correct the name.",
    Reason.INVALID_FIELD: "A field has a value that cannot be used. The problem says what is expected.",
    Reason.UNKNOWN_COMMAND: "The agent does not know this command. Update the agent or correct the name.",
    Reason.SUPERSEDED: "A newer revision arrived before this one was applied.",
    Reason.ARTIFACT_MISSING: "The control plane does not hold the artifact. Upload it, then publish again.",
    Reason.ARTIFACT_CORRUPT: "The artifact's bytes do not match its digest. Upload it again.",
    Reason.ARTIFACT_UNREACHABLE: "The artifact could not be downloaded. Check the network; the agent tries again by itself.",
    Reason.DISK_FULL: "There is not enough free space on the device. Free some or remove unused models.",
    Reason.STORE_QUOTA: "The artifacts would take more room than `limits.store_bytes` allows. Raise it, or use fewer or smaller models.",
    Reason.ENDLESS_DATA: "The server sent more bytes than were signed for; the download was broken off. Somebody may stand in between, or an object was damaged.",
    Reason.SLOW_RETRIEVAL: "The server kept sending below `limits.fetch_min_bytes_s`. Check the network; the download is tried again where it stopped.",
    Reason.METADATA_INVALID: "Trust metadata is malformed or not signed by enough of the right keys. Nothing of it is believed. If keys were rotated, see `outrider fleet keys list`.",
    Reason.METADATA_ROLLBACK: "Trust metadata is older than what this device has seen. Somebody replays old metadata, or the control plane was restored from an old backup.",
    Reason.METADATA_EXPIRED: "Trust metadata is past its end, so nothing new is accepted; what runs goes on. Check that the control plane runs and can be reached, and the clocks.",
    Reason.METADATA_MISMATCH: "Parts of the trust metadata do not belong together: size, hash or version differ from what was signed for.",
    Reason.METADATA_UNREACHABLE: "Trust metadata cannot be fetched. It is tried again; what runs goes on.",
    Reason.TARGET_UNKNOWN: "No trust metadata vouches for this artifact, although a desired state names it. Upload it, have it signed (`outrider fleet sign`), publish again.",
    Reason.SIGNATURE_PENDING: "The artifact waits for a signature with an offline key: `outrider fleet sign export`, sign, `outrider fleet sign import`.",
    Reason.BUNDLE_INVALID: "The bundle is not whole or not for this device. Export it again.",
    Reason.PACKAGE_INVALID: "The model package is not complete or its model.toml is wrong. Pack it again.",
    Reason.MODEL_NOT_ONNX: "The file is not a readable ONNX model. Export it again.",
    Reason.MODEL_OUTPUTS: "The graph's outputs are not those of the family. Name the right family or export again.",
    Reason.MODEL_INPUTS: "The graph's inputs do not fit the package. Correct [input] or export again.",
    Reason.MODEL_LABELS: "The number of labels differs from the number of classes. Correct labels.txt.",
    Reason.MODEL_OPSET: "The graph is written in an opset that cannot be served. Export it again with the opset that the message names.",
    Reason.MODEL_OPERATOR: "The graph uses an operator that the engine does not have. Export it with standard operators, or use another engine.",
    Reason.MODEL_WEIGHTS: "The files that hold the graph's weights are missing or too short. Copy them beside the graph, then pack it again.",
    Reason.FAMILY_UNKNOWN: "The family is not known here. Use one of those that `outrider model families` lists.",
    Reason.GOLDEN_MISMATCH: "The golden image gives another result than the package promises. Pack it again or use another engine.",
    Reason.GOLDEN_ABSENT: "The package has no golden image, so its results cannot be checked. Pack it with --golden IMAGE.",
    Reason.ENGINE_UNAVAILABLE: "The engine asked for cannot run on this machine. `outrider doctor` says what is missing.",
    Reason.ENGINE_BUILD_FAILED: "TensorRT could not build an engine from the graph; the message holds its words. Use the engine onnxruntime, or export the model again.",
    Reason.DRIVER_ABSENT: "There is no NVIDIA driver that answers, so GPU engines cannot run. Install the driver, or use a CPU engine.",
    Reason.DRIVER_TOO_OLD: "The NVIDIA driver is older than the engine needs. Update the driver, or install an older version of the engine.",
    Reason.GPU_FAULT: "An error of the GPU has made it useless to the engine process, which ended itself and is started again. If it comes back, try another engine, and look at the kernel's log for the driver's words.",
    Reason.PRECISION_UNAVAILABLE: "The engine cannot compute this model in the precision asked for. The message says which can.",
    Reason.MODEL_LOAD_FAILED: "The engine could not load the model. The message holds the engine's own words.",
    Reason.MODEL_NAN: "The model answered values that are not numbers. Check the weights and the precision.",
    Reason.OUT_OF_MEMORY: "There is not enough memory for the model. Use a smaller model or remove another.",
    Reason.DATASET_INVALID: "The pictures or annotations cannot be used to measure this model. Correct what the message names.",
    Reason.EXTRA_MISSING: "A part of Outrider is needed that was not installed. Install the extra that the message names.",
    Reason.BENCH_FAILED: "The benchmark crashed or exceeded its time. Ask for a shorter one; the message holds its last words.",
    Reason.BENCH_RUNNING: "A benchmark runs on the device already. Wait for its answer, then ask again.",
    Reason.WORKFLOW_INVALID: "The workflow definition is wrong; each problem names its step and field.",
    Reason.BLOCK_UNKNOWN: "The workflow uses a block that does not exist here. `outrider workflow schema` lists the blocks.",
    Reason.BLOCK_CLOUD_ONLY: "The workflow uses a block that does not run on a device. Use what the problem names instead, or have it passed over (skip_cloud_blocks).",
    Reason.CODE_NOT_ALLOWED: "The workflow brings Python code, which runs only where the device's own configuration file says allow_workflow_code.",
    Reason.STEP_FAILED: "A step of the workflow failed on a frame; its branch gave no result for that frame.",
    Reason.LIBRARY_MISSING: "A step needs a library that is not installed on the device. Install the extra that the message names.",
    Reason.CAMERA_UNREACHABLE: "The camera cannot be opened. Check address, cable and password; the pipeline keeps trying.",
    Reason.CAMERA_LOST: "The camera stopped delivering frames. The pipeline keeps trying to open it again.",
    Reason.CAMERA_ENDED: "The file has come to its end.",
    Reason.CAMERA_SOURCE_INVALID: "The camera's source is not of a known form. Use rtsp://…, http://…, a device number or a file.",
    Reason.CAMERA_PASSWORD: "The camera does not accept the user name or password. Correct them; it is asked again seldom, so that it locks nobody out.",
    Reason.CAMERA_SILENT: "The camera accepts the connection and says nothing. Restart the camera; the pipeline keeps trying.",
    Reason.CAMERA_NONSENSE: "What answers at the camera's address does not speak its protocol. Check address and port.",
    Reason.CAMERA_STALLED: "The connection stands and no frame comes. The pipeline opens it again.",
    Reason.CAMERA_HUNG: "A call into the decoder or driver did not come back; the pipeline process was ended and is started again.",
    Reason.CAMERA_OFF: "The camera is not watched at this hour, by plan.",
    Reason.CAMERA_DECODER: "No hardware decoder can be used; the camera is decoded in software. The message says what was tried.",
    Reason.PICTURE_FROZEN: "The picture does not change, or only its clock does: the camera or its recorder sends an old one. Restart it.",
    Reason.PICTURE_BLACK: "The picture is black. Check lens cap, exposure and light, or set active hours.",
    Reason.PICTURE_BRIGHT: "The picture is over-exposed. Check exposure, and whether a light shines into the lens.",
    Reason.PICTURE_COVERED: "Something covers the lens: the picture is one even surface. Clean or uncover it.",
    Reason.PICTURE_BLURRED: "The picture has lost its sharpness. Focus or clean the lens.",
    Reason.PICTURE_MOVED: "The camera looks elsewhere than before. Turn it back, or take the new view by restarting the camera.",
    Reason.PICTURE_SIZE: "The picture has another size than it should. Correct the camera's settings or the camera's `checks`.",
    Reason.CLIP_EMPTY: "There is no clip: the camera keeps none (`clips.seconds`), or no picture of that time.",
    Reason.PICTURE_WITHHELD: "The privacy policy of the camera lets no picture leave, or cannot be met for this one.",
    Reason.DROPPED_BY_POLICY: "Frames come, and all of them are dropped: the device cannot keep up. Lower the rate or use a smaller model.",
    Reason.THERMAL_LIMIT: "The device is too hot, so fewer frames are worked on. Cool it.",
    Reason.POWER_LIMIT: "The device has reached its power limit, so fewer frames are worked on.",
    Reason.CPU_LIMIT: "The processor is overloaded, so fewer frames are worked on. Lower rates or move cameras elsewhere.",
    Reason.ENGINE_DOWN: "The engine process of the model is not running; it is being started again.",
    Reason.ENGINE_TIMEOUT: "The engine did not answer in time.",
    Reason.ENGINE_ERROR: "The engine failed on this request; the message holds its words.",
    Reason.ENGINE_BUSY: "All slots of the engine are taken; the frame was not asked.",
    Reason.PIPELINE_DOWN: "The camera's pipeline process is not running; it is being started again.",
    Reason.PIPELINE_HUNG: "The camera's pipeline process gave no sign of life and was ended; it is being started again.",
    Reason.PIPELINE_FLAPPING: "The camera's pipeline process has ended too often; it is started again at long intervals. See the log.",
    Reason.AGENT_DOWN: "The agent was not running.",
    Reason.AGENT_RESTARTING: "The agent started anew with another release of itself, and its cameras with it.",
    Reason.STARTING: "The part has been started and has not given a result yet.",
    Reason.NOT_AUTHENTICATED: "The request carries no valid bearer token. Give one with --token or OUTRIDER_FLEET_TOKEN.",
    Reason.NOT_ALLOWED: "The token's role or device does not allow this. Use a token with the right role.",
    Reason.NOT_FOUND: "The control plane knows nothing of that name. List what there is.",
    Reason.ROLLOUT_STATE: "The rollout is not in a state in which this can be done. Look with `outrider fleet rollout show`.",
    Reason.ROLLOUT_INVALID: "The rollout makes no sense as it is written. Each problem names its field.",
    Reason.TOKEN_INVALID: "The enrolment token is unknown, used up or expired. Make a new one: `outrider fleet token create`.",
    Reason.CERTIFICATE_INVALID: "The certificate or the request for one cannot be used. Enrol the device again.",
    Reason.CERTIFICATE_REVOKED: "The identity of this device has been revoked. If it was not meant, enrol it again with a token made with --replace.",
    Reason.AUTHORITY_MISMATCH: "The server's authority is not the one the enrolment token names: somebody may stand in between. Check the URL; do not use another token here before.",
    Reason.SECRET_UNREADABLE: "A secret of the desired state is missing or was not sealed to this device's key. Set it again: `outrider fleet device secret set`.",
    Reason.NAME_TAKEN: "The name belongs to something else already. Choose another, or allow the replacement.",
    Reason.NO_RESPONSE: "The device did not answer before the deadline. See whether it is online, then ask again.",
    Reason.BROKER_UNAVAILABLE: "The MQTT broker cannot be reached. The control plane keeps trying; see its log.",
    Reason.STORE_UNAVAILABLE: "The object store or the database does not serve. The control plane tries again; see its log.",
    Reason.FLEET_UNREACHABLE: "The control plane cannot be reached. Check that it runs, and the URL.",
    Reason.CHECK_FAILED: "The check of an upload crashed or exceeded its time or memory, so the upload was refused.",
    Reason.CONFIG_INVALID: "The configuration file is wrong; each problem names its field.",
    Reason.SELECTOR_INVALID: "The selector over labels cannot be read. Write it as key=value, key!=value, key in (a, b), key or !key, joined by commas.",
    Reason.CHANGED_MEANWHILE: "Somebody has changed it since it was read. Read it again, then repeat the change.",
    Reason.KEY_REUSED: "The idempotency key was used for another request. Use a new key for each change.",
    Reason.STILL_RUNNING: "The same request is being worked on. Ask again in some seconds.",
    Reason.SIGN_IN_REFUSED: "Name and password do not fit, or the account is disabled. An admin can set a new password.",
    Reason.TOO_MANY_ATTEMPTS: "Too many sign-ins have failed. Wait as long as Retry-After says.",
    Reason.TOO_MANY_STREAMS: "So many readers follow events already that no more are taken. Close some, or ask for pages.",
    Reason.CSRF_MISSING: "A change with a session's cookie must carry the session's token in X-CSRF-Token, and come from the console's own pages.",
    Reason.PASSWORD_WEAK: "The password is too short or too common. Use a longer one.",
    Reason.PROVIDER_FAILED: "The sign-in by the identity provider did not succeed. The message says at which step; try again, or check [oidc] of fleet.toml.",
    Reason.AUDIT_BROKEN: "The audit log was changed, shortened or reordered. Compare it with a backup and an exported head.",
    Reason.IN_USE: "Something still needs it. Remove what the problems name first.",
    Reason.DELIVERY_FAILED: "A message to a target of alerts was not taken; it is tried again. Check the target: `outrider fleet alert target test`.",
    Reason.PREPARE_TIMEOUT: "The new revision could not be made ready in time; the old one keeps serving.",
    Reason.SWITCH_FAILED: "The pipelines could not take over the new revision; the old one keeps serving.",
    Reason.QUARANTINED: "This model, workflow or release was rolled back on the device before. Publish another, or let it in again: "
    "`outrider agent quarantine clear`.",
    Reason.CANCELLED: "The update was cancelled by an operator; what served keeps serving.",
    Reason.WINDOW_MISSED: "No maintenance window was open, or an application held its lock, until the update's deadline. Check the "
    "windows, the device's clock and time zone, then publish again.",
    Reason.PROBATION_TIMEOUT: "The new revision ran, but its probation came to no verdict in time; the device went back.",
    Reason.PROBATION_FAILED: "The new revision ran worse than the one before it on this device, which went back by itself. The message "
    "names the gate, the figure and the limit.",
    Reason.STARTS_WITHOUT_COMMIT: "The device started again and again without the new revision being committed; it went back.",
    Reason.CONTACT_LOST: "After this change the device could not reach its control plane any more, so it took the change back.",
    Reason.RELEASE_FAILED: "The agent's new release could not be installed or did not start; the one before it runs.",
    Reason.RELEASE_INVALID: "This is no release of the agent as `outrider fleet release build` makes it; build it again.",
    Reason.RELEASE_UNFIT: "The agent's release was made for another Python, platform or installation; give this device the one for it.",
    Reason.RELEASE_OLDER: "The agent's release is older than the one that runs; say allow_downgrade where that is meant.",
    Reason.CONNECTION_UNUSABLE: "What settings.connection asks for cannot be used on this device; correct it.",
    Reason.INTERNAL: "An error inside Outrider. Please report it with the diagnostic bundle.",
}
