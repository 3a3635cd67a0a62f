# A device without a GPU. Build in the repository's root: docker build -f deploy/device-cpu.Dockerfile -t outrider-device .
FROM python:3.12-slim-bookworm AS build
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY wire wire
COPY runtime runtime
COPY agent agent
COPY fleet fleet
COPY outrider outrider
COPY systemd systemd
RUN python -m venv /opt/outrider && /opt/outrider/bin/pip install --no-cache-dir -c constraints.txt '.[cpu,sinks]'

FROM python:3.12-slim-bookworm
RUN apt-get update && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10002 --groups video --home-dir /var/lib/outrider --create-home outrider \
    && install -d -o 10002 -m 0700 /run/outrider
COPY --from=build /opt/outrider /opt/outrider
ENV PATH=/opt/outrider/bin:$PATH PYTHONUNBUFFERED=1
USER 10002
VOLUME /var/lib/outrider
STOPSIGNAL SIGTERM
# Pipelines, engines and the agent end together with process 1, which reaps them: run it with --init.
ENTRYPOINT ["outrider", "agent"]
CMD ["run"]
