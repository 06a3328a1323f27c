# The service in a container; it needs nothing but the wheel:
#   make wheel
#   docker build -t faceshield:cuda .                                # pip's default torch on Linux: CUDA; then docker run --gpus all
#   docker build -t faceshield --build-arg PIP_ARGS="..." .          # PIP_ARGS: pip's options for the much smaller CPU build of torch
#   docker run --stop-timeout 60 -p 127.0.0.1:8000:8000 -e FACESHIELD_API_KEYS="$KEY" faceshield               # KEY: at least 16 characters
ARG PYTHON=3.11
FROM python:${PYTHON}-slim

ARG PIP_ARGS=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1 HF_HUB_OFFLINE=1

# torch first: its layer is the largest and changes least often.
COPY constraints.txt /tmp/
RUN python -m pip install ${PIP_ARGS} -c /tmp/constraints.txt torch
COPY dist/faceshield-*.whl /tmp/
RUN python -m pip install -c /tmp/constraints.txt "$(ls /tmp/faceshield-*.whl)[serve]" && rm /tmp/faceshield-*.whl \
    && python -m faceshield serve --help > /dev/null

# An unprivileged user without a home or cache. API keys come from the environment; without them the service does not start.
RUN useradd --system --no-create-home faceshield
USER faceshield
EXPOSE 8000
HEALTHCHECK --start-period=60s --interval=30s --timeout=5s \
    CMD ["python", "-c", "import http.client as h, sys; c = h.HTTPConnection('127.0.0.1', 8000, timeout=4); c.request('GET', '/readyz'); sys.exit(c.getresponse().status != 200)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["python", "-m", "faceshield", "serve", "--host", "0.0.0.0", "--port", "8000", "--offline"]
