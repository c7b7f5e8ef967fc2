# The networks, and what unpacks and checks them: docker build -f deploy/images/models.Dockerfile .
FROM busybox:1.37.0
LABEL org.opencontainers.image.title="brainmets models" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.description="The model repository that Triton loads. Research use only."
COPY model_repository /model_repository
COPY --chmod=755 deploy/images/unpack-models.sh /bin/unpack-models
USER 10001:10001
ENTRYPOINT ["unpack-models"]
CMD ["/model_repository", "/models"]
