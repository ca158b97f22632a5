# The manager, for linux/amd64 and linux/arm64: make docker-build.
# What is installed is what requirements.lock pins, by hash and as wheels: nothing is
# compiled but our own Python, and which index it comes from is for the builder to say
# (PIP_INDEX_URL and the like as --build-arg are not kept in the image).

ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
ARG PIP_INDEX_URL
ARG PIP_TRUSTED_HOST
WORKDIR /opt/pilothouse
COPY requirements.lock ./
RUN python -m venv --without-pip .venv
RUN python -m pip --python .venv/bin/python install --no-cache-dir --no-compile --disable-pip-version-check --require-hashes --only-binary :all: --no-deps -r requirements.lock
COPY VERSION LICENSE ./
COPY api ./api
COPY controller_runtime ./controller_runtime
COPY controllers ./controllers
COPY hack/pilothouse ./bin/pilothouse
# By content: a layer does not keep the times that Python would go by.
# Whoever it runs as may read it, whatever umask the checkout was made with.
RUN chmod -R a+rX . && .venv/bin/python -m compileall -q --invalidation-mode unchecked-hash -j 0 .venv/lib api controller_runtime controllers

FROM python:${PYTHON}-slim
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="pilothouse" \
      org.opencontainers.image.description="A cluster's platform jobs in one manager" \
      org.opencontainers.image.source="https://github.com/pilothouse/pilothouse" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/pilothouse /opt/pilothouse
ENV PATH=/opt/pilothouse/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /opt/pilothouse
USER 65532:65532
EXPOSE 8080 8081
ENTRYPOINT ["pilothouse"]
CMD ["run"]
