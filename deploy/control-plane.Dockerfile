# The control plane with its broker. Build in the repository's root: docker build -f deploy/control-plane.Dockerfile -t outrider-control-plane .
FROM python:3.12-slim-bookworm AS build
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY wire wire
COPY runtime runtime
COPY agent agent
COPY fleet fleet
COPY outrider outrider
COPY systemd systemd
RUN python -m venv /opt/outrider && /opt/outrider/bin/pip install --no-cache-dir -c constraints.txt '.[cpu,fleet]'

FROM python:3.12-slim-bookworm
RUN apt-get update && apt-get install -y --no-install-recommends mosquitto libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/outrider-fleet --create-home outrider
COPY --from=build /opt/outrider /opt/outrider
ENV PATH=/opt/outrider/bin:$PATH PYTHONUNBUFFERED=1
USER 10001
VOLUME /var/lib/outrider-fleet
# API, MQTT with certificates, MQTT over WebSocket.
EXPOSE 8080 8883 9001
STOPSIGNAL SIGTERM
ENTRYPOINT ["outrider", "fleet"]
CMD ["serve", "/var/lib/outrider-fleet/data", "--host", "0.0.0.0"]
