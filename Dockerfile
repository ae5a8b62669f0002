# AGFN Live as an image for servers; docs/docker.md says how to run it.
#   docker build -t agfn-live .                         for the CPU: PyTorch's build without CUDA
#   docker build -t agfn-live --build-arg TORCH=cuda .  with CUDA: some 5 GB more
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS base
# What OpenCV, MediaPipe and PortAudio expect: RUN_PACKAGES of scripts/_setup.sh, which a test compares.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        ca-certificates \
        libegl1 \
        libgl1 \
        libgles2 \
        libglib2.0-0 \
        libportaudio2 \
        python3 \
    && rm -rf /var/lib/apt/lists/*

FROM base AS build
ARG TORCH=cpu
ARG UV=0.13.9
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/agfn-live
# The large part first: a change of our own code does not fetch it anew. uv knows where PyTorch keeps its builds for the
# CPU; the one with CUDA is what the package index serves, and comes below with the rest, each file checked by its sha256.
COPY constraints.txt ./
RUN python3 -m venv .venv \
    && case "${TORCH}" in \
        cpu) python3 -m venv /tmp/uv \
            && /tmp/uv/bin/python -m pip install --no-cache-dir "uv==${UV}" \
            && /tmp/uv/bin/uv pip install --no-cache --python .venv/bin/python --torch-backend cpu \
                --constraint constraints.txt torch torchaudio \
            && rm -rf /tmp/uv ;; \
        cuda) ;; \
        *) echo "TORCH is cpu or cuda, not ${TORCH}" >&2; exit 1 ;; \
    esac
COPY . ./
RUN PIP_NO_CACHE_DIR=1 bash -c '. scripts/_setup.sh && ensure_installed run' \
    && .venv/bin/python -m compileall -q agfn_live.py models realtime

FROM base
# Groups of cameras and sound cards; their numbers may differ on the host: group_add.
RUN useradd --system --uid 10001 --user-group --groups audio,video --home-dir /var/cache/agfn-live --create-home agfn
COPY --from=build /opt/agfn-live /opt/agfn-live
# Nothing but the models with the graphs made of them, and /tmp, is written.
ENV AGFN_CACHE=/var/cache/agfn-live \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1
USER 10001:10001
WORKDIR /tmp
VOLUME ["/var/cache/agfn-live"]
ENTRYPOINT ["/opt/agfn-live/.venv/bin/agfn-live"]
CMD ["--no-view"]
