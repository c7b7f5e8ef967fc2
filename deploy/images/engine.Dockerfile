# Builds TensorRT plans with the very TensorRT that serves them: docker build -f deploy/images/engine.Dockerfile .
FROM nvcr.io/nvidia/tritonserver:26.07-py3
LABEL org.opencontainers.image.title="brainmets engine" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.description="Builds TensorRT plans of the brainmets networks. Research use only."
# The image's own packages stay visible: among them TensorRT's, where the image has it.
RUN python3 -m venv --without-pip --system-site-packages /opt/brainmets
COPY deploy/images/engine.lock /tmp/engine.lock
RUN python3 -m pip --python /opt/brainmets/bin/python install --no-cache-dir --only-binary :all: --require-hashes \
    -r /tmp/engine.lock
# Where it does not: --build-arg TENSORRT=tensorrt==<exactly the version of the image's libnvinfer>.
ARG TENSORRT=""
RUN test -z "$TENSORRT" || python3 -m pip --python /opt/brainmets/bin/python install --no-cache-dir "$TENSORRT"
COPY pyproject.toml README.md LICENSE /source/
COPY services /source/services
RUN python3 -m pip --python /opt/brainmets/bin/python install --no-cache-dir --no-deps /source
COPY --chmod=755 deploy/images/publish-plans.sh /usr/local/bin/publish-plans
ENV PATH=/opt/brainmets/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
USER 10001:10001
ENTRYPOINT ["python", "-m", "brainmets.engine"]
