# The operator's image. Three stages: what it depends on, the package itself, and an image that holds both and nothing
# to build with. Everything installed is checked against the hashes of a lock.
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS dependencies
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY requirements-runtime.lock /src/
RUN python -m venv --without-pip /opt/computepool \
    && pip --python /opt/computepool/bin/python install --require-hashes --only-binary :all: -r /src/requirements-runtime.lock

FROM python:${PYTHON}-slim AS package
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
# The development lock has the build backend in it; it stays in this stage.
COPY requirements.lock ./
RUN pip install --require-hashes --only-binary :all: -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY operator operator
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /dist .

FROM dependencies AS environment
COPY --from=package /dist /dist
RUN pip --python /opt/computepool/bin/python install --no-index --no-deps /dist/*.whl

FROM python:${PYTHON}-slim
LABEL org.opencontainers.image.title="computepool" \
      org.opencontainers.image.description="Keeps GPU workloads running when one provider's capacity runs out or fails" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=environment /opt/computepool /opt/computepool
# The root file system is read-only where this runs, and logs must not wait in a buffer. The number below has no entry in
# /etc/passwd, nor has one that a cluster assigns: the name is for libraries that ask who they run as.
ENV PATH=/opt/computepool/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 USER=computepool
# A number, so that Kubernetes can see that it is not root.
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["computepool"]
CMD ["run"]
