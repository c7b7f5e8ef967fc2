# The gateway: docker build -f deploy/images/gateway.Dockerfile . ; its argument is api or worker.
FROM python:3.11.14-slim-bookworm AS packages
RUN python -m venv /opt/brainmets
COPY deploy/images/gateway.lock /tmp/gateway.lock
# Versions are those of constraints.txt; the lock adds the hash of every wheel (deploy/images/lock.sh writes it).
RUN /opt/brainmets/bin/pip install --no-cache-dir --only-binary :all: --require-hashes -r /tmp/gateway.lock
COPY pyproject.toml README.md LICENSE /source/
COPY services /source/services
RUN /opt/brainmets/bin/pip install --no-cache-dir --no-deps /source

FROM python:3.11.14-slim-bookworm
LABEL org.opencontainers.image.title="brainmets gateway" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.description="Takes studies over gRPC and works them off. Research use only." \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=packages /opt/brainmets /opt/brainmets
# Nothing is written below /, so that the root file system can be read-only.
ENV PATH=/opt/brainmets/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# A number, because Kubernetes cannot tell of a name whether it is root.
USER 10001:10001
ENTRYPOINT ["python", "-m", "brainmets.gateway"]
CMD ["api"]
