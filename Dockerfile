# The production image: the processors and the command line, without the embedded Kafka, Postgres and stand-ins.
FROM python:3.11.13-slim-bookworm AS build
WORKDIR /build
COPY requirements-build.lock ./
RUN pip install --no-cache-dir --require-hashes --no-deps -r requirements-build.lock
COPY pyproject.toml README.md ./
COPY schemas schemas
COPY agents agents
COPY streams streams
COPY connectors connectors
COPY workflows workflows
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheel .

FROM python:3.11.13-slim-bookworm
ENV PYTHONUNBUFFERED=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY requirements-production.lock /tmp/
RUN pip install --no-cache-dir --require-hashes --no-deps -r /tmp/requirements-production.lock && rm /tmp/requirements-production.lock
COPY --from=build /wheel /wheel
RUN pip install --no-cache-dir --no-deps --no-index /wheel/*.whl && rm -r /wheel \
    && useradd --uid 10001 --create-home hil
COPY workflows /home/hil/workflows
USER 10001
WORKDIR /home/hil
ENTRYPOINT ["hil"]
CMD ["--help"]
