# The operator's image. Three stages: what it depends on, the package itself, and an image that holds both and nothing
# to build with. Everything installed is checked against the hashes of a lock.
#
# A release pins the base image to a digest, and sets SOURCE_DATE_EPOCH to the time of its commit. With it, compiled files
# name the content of their source in place of its time, so the same commit makes the same files.
ARG BASE=python:3.13-slim

FROM ${BASE} AS dependencies
ARG SOURCE_DATE_EPOCH
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY requirements-runtime.lock /src/
RUN python -m venv --without-pip /opt/computepool \
    && pip --python /opt/computepool/bin/python install --require-hashes --only-binary :all: -r /src/requirements-runtime.lock

FROM ${BASE} AS package
ARG SOURCE_DATE_EPOCH
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
# The development lock has the build backend in it; it stays in this stage.
COPY requirements.lock ./
RUN pip install --require-hashes --only-binary :all: -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY operator operator
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /dist .

FROM dependencies AS environment
ARG SOURCE_DATE_EPOCH
COPY --from=package /dist /dist
RUN pip --python /opt/computepool/bin/python install --no-index --no-deps /dist/*.whl

FROM ${BASE}
ARG BASE
# A release adds the version, the revision, the source and the digest of the base.
LABEL org.opencontainers.image.title="computepool" \
      org.opencontainers.image.description="Keeps GPU workloads running when one provider's capacity runs out or fails" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${BASE}"
COPY --from=environment /opt/computepool /opt/computepool
# The root file system is read-only where this runs, and logs must not wait in a buffer. The number below has no entry in
# /etc/passwd, nor has one that a cluster assigns: the name is for libraries that ask who they run as.
ENV PATH=/opt/computepool/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 USER=computepool
# A number, so that Kubernetes can see that it is not root.
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["computepool"]
CMD ["run"]
