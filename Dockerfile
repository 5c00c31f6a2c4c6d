# lrcr for photos of your own, without the pipeline: docs/container.md says how to use it.
# docker build -t lrcr .                              an image for the CPU
# docker build -t lrcr --build-arg DEVICE=cuda .      an image for Nvidia's GPUs
FROM python:3.11-slim

ARG DEVICE=cpu
WORKDIR /app
ENV VIRTUAL_ENV=/app/venv PATH="/app/venv/bin:$PATH"
RUN python -m venv venv && venv/bin/python -m pip install --no-cache-dir uv

# The pinned packages. For the CPU those of CUDA are left out, and torch and faiss are replaced by their builds without it.
COPY requirements.lock ./
RUN --mount=type=cache,target=/root/.cache/uv \
    case "$DEVICE" in \
        cpu) sed -E -i -e '/^(cuda-|triton=|faiss-cpu=|nvidia-(cu|nccl|nv))/d' \
                 -e 's/^faiss-gpu(==[^ ]+).*/faiss-cpu\1/' requirements.lock && \
             uv pip install --no-deps --torch-backend cpu -r requirements.lock ;; \
        cuda) uv pip install --no-deps -r requirements.lock ;; \
        *) echo "DEVICE=$DEVICE: unknown; choose cpu or cuda" >&2; exit 1 ;; \
    esac

COPY pyproject.toml README.md LICENSE THIRD_PARTY.md ./
COPY lrcr lrcr
RUN --mount=type=cache,target=/root/.cache/uv \
    uv pip install --no-deps --no-build-isolation . && rm -rf lrcr build *.egg-info

# Photos are only read. Whoever runs the container may write indexes, and what is unfinished or compiled.
RUN useradd --uid 1000 --no-create-home --home-dir /state lrcr && \
    install -d /photos && install -d -m 1777 /index /state
ENV HOME=/state LRCR_STATE=/state/lrcr NUMBA_CACHE_DIR=/state/numba
VOLUME ["/photos", "/index", "/state"]
USER 1000:1000
WORKDIR /index
ENTRYPOINT ["lrcr"]
