"""Run by the system's Python, which has GStreamer: a film as an RTSP camera, from its beginning for each viewer.

Arguments: port of loopback, path of an MP4 with H.264, and `aac`, `opus` or `none` for its sound.
AGFN_TEST_LOGIN=USER:PASSWORD has viewers asked for it.
"""

import os
import sys
from typing import Any

import gi

PAYLOADERS = {"aac": "rtpmp4gpay", "opus": "rtpopuspay"}


def main() -> None:
    """Serve until the process is ended."""
    for name in ("Gst", "GstRtspServer"):
        gi.require_version(name, "1.0")
    from gi.repository import GLib, Gst, GstRtspServer  # noqa: PLC0415 - once their versions are chosen

    port, film, sound = sys.argv[1:]
    Gst.init(None)
    parts = [f'filesrc location="{film}" ! qtdemux name=film']
    parts.append("film.video_0 ! queue ! rtph264pay name=pay0 pt=96 config-interval=-1")
    if sound != "none":
        parts.append(f"film.audio_0 ! queue ! {PAYLOADERS[sound]} name=pay1 pt=97")
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(f"( {' '.join(parts)} )")
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    if login := os.environ.get("AGFN_TEST_LOGIN"):
        _ask_for(login, GstRtspServer, server, factory)
    server.get_mount_points().add_factory("/live", factory)
    server.attach(None)
    GLib.MainLoop().run()


def _ask_for(login: str, rtsp: Any, server: Any, factory: Any) -> None:  # noqa: ANN401 - GStreamer's, which have no types
    guard, token = rtsp.RTSPAuth(), rtsp.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    guard.add_digest(*login.split(":", 1), token)
    guard.set_supported_methods(_digest())
    server.set_auth(guard)
    role = rtsp.RTSPPermissions()
    role.add_permission_for_role("viewer", "media.factory.access", True)
    role.add_permission_for_role("viewer", "media.factory.construct", True)
    factory.set_permissions(role)


def _digest() -> Any:  # noqa: ANN401 - as above
    gi.require_version("GstRtsp", "1.0")
    from gi.repository import GstRtsp  # noqa: PLC0415 - as above

    return GstRtsp.RTSPAuthMethod.DIGEST


main()
