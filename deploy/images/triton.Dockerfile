# Triton with its options, and nothing else: docker build -f deploy/images/triton.Dockerfile .
# 26.07 reads what the networks are exported as (opset 18, IR 10; see onnx in constraints.txt).
FROM nvcr.io/nvidia/tritonserver:26.07-py3
LABEL org.opencontainers.image.title="brainmets triton" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.description="Triton with the options that brainmets needs. Research use only."
# Caches of CUDA and of TensorRT are written below HOME, and the root file system is read-only.
ENV HOME=/tmp
USER 10001:10001
# gRPC alone, and no orders: models are those of the start. Workers ping every 5 s (triton_connection.py), which Triton
# would cut off. Connections end after 5 minutes, so that workers find replicas that came later.
ENTRYPOINT ["tritonserver", \
            "--model-repository=/models", \
            "--model-control-mode=none", \
            "--strict-readiness=true", \
            "--allow-http=false", \
            "--grpc-port=8001", \
            "--grpc-http2-min-recv-ping-interval-without-data=4000", \
            "--grpc-max-connection-age=300000", \
            "--grpc-max-connection-age-grace=60000", \
            "--metrics-port=8002", \
            "--exit-timeout-secs=30"]
